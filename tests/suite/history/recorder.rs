//! The one clock of a run, and the history that is written by it.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};

use super::event::{Event, Moment, What};

/// Everything that is timed is timed here, in the process that sends the requests and makes the changes.
pub(super) struct Recorder {
    began: Instant,
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl Recorder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            began: Instant::now(),
            file: Mutex::new(BufWriter::new(File::create(&path).unwrap())),
            path,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment(0).after(self.began.elapsed())
    }

    /// Writes down what began then and ended now.
    pub(super) fn ended(&self, began: Moment, what: What) {
        let ended = self.now();
        self.write(&Event { began, ended, what });
    }

    pub(super) fn write(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).unwrap();
        line.push(b'\n');
        self.file.lock().unwrap().write_all(&line).unwrap();
    }

    /// The whole history, as it was written.
    pub(super) fn finish(self) -> Vec<Event> {
        self.file.into_inner().unwrap().flush().unwrap();
        read(&self.path)
    }
}

fn read(path: &Path) -> Vec<Event> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
