//! Limits repeated log lines. Each subject gets at most one line per hour, unless the number of
//! subjects exceeds `MAX_SUBJECTS`.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

use crate::lock::lock;

const SILENCE: Duration = Duration::from_secs(3600);
/// The maximum number of remembered subjects. At this limit, all subjects are forgotten, which
/// bounds memory.
const MAX_SUBJECTS: usize = 1024;

/// The subjects that were logged, with the time of each subject's last line.
#[derive(Debug)]
pub(crate) struct LogThrottle<K>(LazyLock<Mutex<HashMap<K, Instant>>>);

impl<K: Eq + Hash> LogThrottle<K> {
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// Returns `true`, and records the time, if no line about this subject was logged within the
    /// last hour.
    pub(crate) fn should_log(&self, subject: K) -> bool {
        self.should_log_at(subject, Instant::now())
    }

    fn should_log_at(&self, subject: K, now: Instant) -> bool {
        let mut logged = lock(&self.0);
        if logged.get(&subject).is_some_and(|at| now.saturating_duration_since(*at) < SILENCE) {
            return false;
        }
        if logged.len() >= MAX_SUBJECTS {
            logged.clear();
        }
        logged.insert(subject, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_is_due_once_an_hour_and_memory_is_bounded() {
        let once = LogThrottle::new();
        let start = Instant::now();
        assert!(once.should_log_at(1, start) && once.should_log_at(2, start));
        assert!(!once.should_log_at(1, start + SILENCE / 2));
        assert!(once.should_log_at(1, start + SILENCE));
        for subject in 0..10_000 {
            once.should_log_at(subject, start);
        }
        assert!(once.0.lock().unwrap().len() <= MAX_SUBJECTS);
    }
}
