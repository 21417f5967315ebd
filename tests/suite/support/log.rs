//! The log of this process. Tests run in parallel, so each test finds its lines by a unique word,
//! such as its route.

use std::sync::{Mutex, Once};

use log::{LevelFilter, Log, Metadata, Record};

use super::leaks;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static INSTALLED: Once = Once::new();

struct Recorder;

impl Log for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        leaks::search("the log", line.as_bytes());
        LINES.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

/// Records all lines from now on, at every level.
pub(crate) fn install() {
    INSTALLED.call_once(|| {
        log::set_logger(&Recorder).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Returns the lines so far that contain this word.
pub(crate) fn lines_with(word: &str) -> Vec<String> {
    LINES.lock().unwrap().iter().filter(|line| line.contains(word)).cloned().collect()
}
