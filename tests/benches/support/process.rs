//! What the operating system says of this process. Linux only: elsewhere there is nothing to read,
//! and the figures are left out.

use std::{fs, path::PathBuf, time::Duration};

use rustix::{
    process::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// Memory of this process that is in use, in megabytes (1e6 bytes).
pub(crate) fn resident_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Processor time that all of this process took for something, in seconds: what else runs on the
/// machine changes it little.
pub(crate) fn cpu_seconds_for(run: impl FnOnce()) -> f64 {
    let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
    let before = now();
    run();
    now().saturating_sub(before).as_secs_f64()
}

/// A thread of this process.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Thread(PathBuf);

impl Thread {
    /// The one that calls.
    pub(crate) fn current() -> Vec<Self> {
        vec![Self("/proc/thread-self".into())]
    }

    /// Those whose names, of which the system keeps 15 bytes, this is true of.
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

    /// Processor time it took so far, in seconds; none of a thread that ended.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        // In nanoseconds, where `stat` counts ticks of ten milliseconds.
        let text = fs::read_to_string(self.0.join("schedstat")).unwrap_or_default();
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
        nanoseconds.unwrap_or(0.0) / 1e9
    }
}

/// Processor time that these threads took so far, in seconds.
pub(crate) fn cpu_seconds(threads: &[Thread]) -> f64 {
    threads.iter().map(Thread::cpu_seconds).sum()
}

/// Raises the number of files and connections this process may have open, as far as the system lets
/// it.
pub(crate) fn allow_open_files(count: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let count = count as u64;
    if limit.current.is_some_and(|current| current < count) {
        limit.current = Some(limit.maximum.map_or(count, |maximum| maximum.min(count)));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}
