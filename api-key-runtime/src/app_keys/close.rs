//! Closing: records usage, ends the threads, and closes the connections.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use super::Inner;
#[cfg(feature = "_diesel")]
use crate::lock::lock;
use crate::{
    error::Error,
    log,
    store::{Changed, KeyStore},
    usage::Usage,
    watchdog::call_store,
    workers::Workers,
};

/// The maximum time that is reserved for ending the threads and closing the store. Recording usage
/// ends before this time begins.
const RESERVED: Duration = Duration::from_millis(500);
/// The maximum time for which dropping the last handle blocks.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// The threads and the store that closing waits for.
pub(super) struct Closing {
    workers: Workers,
    store: Arc<dyn KeyStore>,
    has_begun: AtomicBool,
}

impl fmt::Debug for Closing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Closing").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Closing {
    pub(super) fn new(workers: Workers, store: Arc<dyn KeyStore>) -> Self {
        Self { workers, store, has_begun: AtomicBool::new(false) }
    }

    /// Closes the store on a separate thread, because closing may hang.
    fn close_store(&self, timeout: Duration) -> Result<(), String> {
        let (sender, closed) = mpsc::channel();
        let store = Arc::clone(&self.store);
        self.workers
            .spawn("app-key-close", move || {
                let _ = sender.send(call_store(|| store.close()));
            })
            .map_err(|error| format!("cannot start a thread to close the store: {error}"))?;
        match closed.recv_timeout(timeout) {
            Ok(closed) => closed.map_err(|error| error.to_string()),
            Err(_) => Err("the store is still being closed".to_owned()),
        }
    }
}

impl Inner {
    /// Closes the key set within `timeout`. `record` writes the last usage. Its second argument
    /// returns the time that is left for this. `record` returns whether all usage was written.
    pub(super) fn close(
        &self,
        timeout: Duration,
        record: impl FnOnce(&Usage, &dyn Fn() -> Duration) -> bool,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let left = || timeout.saturating_sub(began.elapsed());
        // While the database is unavailable, recording usage would use up the whole timeout.
        let reserved = RESERVED.min(timeout / 4);
        let left_for_usage = || left().saturating_sub(reserved);
        self.closing.has_begun.store(true, Ordering::Relaxed);
        self.lookups.shut_down();
        self.feed.shut_down();
        // No cached key is accepted from now on. Otherwise a key could be used after its last usage
        // was recorded.
        self.cache.apply(&Changed::Everything);
        self.supervisor.shut_down();
        #[cfg(feature = "_diesel")]
        drop(lock(&self.live_set).take());
        let mut faults = Vec::new();
        if let Some(usage) = &self.usage
            && !record(usage, &left_for_usage)
        {
            faults.push("the last key usage was not recorded".to_owned());
        }
        let running = self.closing.workers.wait_until_ended(left().saturating_sub(reserved / 2));
        if !running.is_empty() {
            faults.push(format!("still running: {}", running.join(", ")));
        }
        // A lookup may have added keys to the cache since the cache was cleared.
        self.cache.apply(&Changed::Everything);
        if let Err(fault) = self.closing.close_store(left()) {
            faults.push(fault);
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::database(
            format!("cannot close AppKeys completely within {timeout:?}"),
            faults.join("; "),
        ))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Recording usage is tried only once, so that an unavailable database delays the thread
        // that drops the last handle as little as possible.
        if !self.closing.has_begun.load(Ordering::Relaxed)
            && let Err(error) = self.close(DROP_TIMEOUT, |usage, left| usage.end(left()))
        {
            log::warn!("{error}");
        }
    }
}
