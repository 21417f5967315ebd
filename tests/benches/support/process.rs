//! Statistics of this process and its threads. Memory and thread times come from `/proc`, which
//! only Linux has.

use std::{fs, path::PathBuf, time::Duration};

use rustix::{
    process::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// Returns the resident memory of this process in megabytes (1e6 bytes).
pub(crate) fn resident_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Calls a closure, and returns the processor time of this process for the call, in seconds. Other
/// programs on the machine hardly change processor time.
pub(crate) fn cpu_seconds_for(run: impl FnOnce()) -> f64 {
    seconds_for(ClockId::ProcessCPUTime, run)
}

/// Calls a closure, and returns the processor time of this thread for the call, in seconds.
pub(crate) fn thread_seconds_for(run: impl FnOnce()) -> f64 {
    seconds_for(ClockId::ThreadCPUTime, run)
}

fn seconds_for(clock: ClockId, run: impl FnOnce()) -> f64 {
    let now = || Duration::try_from(clock_gettime(clock)).unwrap();
    let before = now();
    run();
    now().saturating_sub(before).as_secs_f64()
}

/// A thread of this process.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Thread(PathBuf);

impl Thread {
    /// Returns the calling thread.
    pub(crate) fn current() -> Vec<Self> {
        vec![Self("/proc/thread-self".into())]
    }

    /// Returns the threads whose names match. The system keeps only the first 15 bytes of a name.
    pub(crate) fn named(is_meant: impl Fn(&str) -> bool) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc/self/task") else {
            return Vec::new();
        };
        let mut threads: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        threads.retain(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| is_meant(name.trim_end()))
        });
        threads.into_iter().map(Self).collect()
    }

    pub(crate) fn name(&self) -> String {
        let name = fs::read_to_string(self.0.join("comm")).unwrap_or_default();
        name.trim_end().to_owned()
    }

    /// Returns the processor time of the thread so far in seconds, or zero if it has ended.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        // `schedstat` counts nanoseconds; `stat` counts ticks of ten milliseconds.
        let text = fs::read_to_string(self.0.join("schedstat")).unwrap_or_default();
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
        nanoseconds.unwrap_or(0.0) / 1e9
    }
}

/// Returns the processor time of these threads so far, in seconds.
pub(crate) fn cpu_seconds(threads: &[Thread]) -> f64 {
    threads.iter().map(Thread::cpu_seconds).sum()
}

/// Raises the number of files and connections that this process may open, up to the limit of the
/// system.
pub(crate) fn allow_open_files(count: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let count = count as u64;
    if limit.current.is_some_and(|current| current < count) {
        limit.current = Some(limit.maximum.map_or(count, |maximum| maximum.min(count)));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}
