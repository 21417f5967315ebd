//! The recorder of a run's history. One clock measures the times of all events.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::event::{Answer, Event, Moment, Request, What};

/// The recorder of a history. The test's process sends the requests, makes the changes, and
/// measures all times.
pub(super) struct Recorder {
    began: Instant,
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
    counts: [AtomicUsize; 4],
}

/// Counts of the recorded events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) changes: usize,
    pub(super) faults: usize,
}

impl Recorder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            began: Instant::now(),
            file: Mutex::new(BufWriter::new(File::create(&path).unwrap())),
            path,
            counts: Default::default(),
        }
    }

    /// Returns the counts of events so far.
    pub(super) fn counts(&self) -> Counts {
        let [accepted, refused, changes, faults] =
            self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Counts { accepted, refused, changes, faults }
    }

    pub(super) fn now(&self) -> Moment {
        Moment(0).after(self.began.elapsed())
    }

    /// Records an event that began at this time and ends now.
    pub(super) fn ended(&self, began: Moment, what: What) {
        let ended = self.now();
        self.write(&Event { began, ended, what });
    }

    pub(super) fn write(&self, event: &Event) {
        let count = match event.what {
            What::Request(Request { answer, .. }) => match answer {
                Answer::Accepted => Some(0),
                Answer::Refused => Some(1),
                _ => None,
            },
            What::Change { .. } => Some(2),
            What::Fault { .. } => Some(3),
            _ => None,
        };
        if let Some(count) = count {
            self.counts[count].fetch_add(1, Ordering::Relaxed);
        }
        let mut line = serde_json::to_vec(event).unwrap();
        line.push(b'\n');
        self.file.lock().unwrap().write_all(&line).unwrap();
    }

    /// Returns the history so far.
    pub(super) fn so_far(&self) -> Vec<Event> {
        self.file.lock().unwrap().flush().unwrap();
        read(&self.path)
    }

    /// Returns the whole history as recorded.
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
