//! Key usage: when and from where each key was last used, and how often. Requests record usage in
//! memory, and a background thread writes the usage to the store.
//!
//! A request updates atomics of its key. At the key's first use since the last write, the request
//! also adds the key to a list. Write failures do not affect requests. Usage that cannot be written
//! is kept for a limited number of keys, and the write is retried later.

mod expiring;
mod usage_buffer;
mod usage_cell;
mod writer;

use std::{
    fmt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use self::writer::Flush;
pub(crate) use self::{expiring::SOON, usage_cell::UsageCell, writer::Writer};
use crate::{
    client_ip::ClientIp,
    clock::{Clock, MonotonicTime},
    error::Error,
    store::KeyStore,
    workers::Workers,
};

/// The minimum interval. With a shorter interval the thread would be busy all the time.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// How long a write may take before another thread takes over. A working database needs less time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a failed flush waits before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A key whose usage is counted. The key is kept in memory until the next write takes its counts,
/// even if the cache drops the key.
pub(crate) trait Counted: Send + Sync {
    fn id(&self) -> i64;
    fn hint(&self) -> &str;
    /// Returns the expiry of the key, if a warning is logged before the key expires.
    fn warns_before(&self) -> Option<DateTime<Utc>>;
    fn usage(&self) -> &UsageCell;
}

/// The counter of key usage. Its thread ends when this value is dropped.
pub(crate) struct Usage {
    writer: Arc<Writer>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Usage").finish_non_exhaustive()
    }
}

impl Usage {
    /// Starts the thread that passes usage to the store at this interval.
    pub(crate) fn start(
        store: Arc<dyn KeyStore>,
        clock: Clock,
        interval: Duration,
        workers: Workers,
    ) -> Result<Self, Error> {
        let interval = interval.max(MIN_INTERVAL);
        Ok(Self { writer: Writer::start(store, clock, interval, WRITE_TIMEOUT, workers)? })
    }

    /// Returns the writer, for the supervisor.
    pub(crate) fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    /// Records that a request with this key was accepted. Never waits for the store. Takes a lock
    /// only at the key's first use since the last write, and when the client IP changes.
    #[inline]
    pub(crate) fn note<K: Counted + 'static>(
        &self,
        key: &Arc<K>,
        now: MonotonicTime,
        address: ClientIp,
    ) {
        if key.usage().note(now, address) {
            self.writer.enlist(Arc::<K>::clone(key));
        }
    }

    /// Returns the number of uses that were dropped because too many keys were waiting.
    pub(crate) fn lost(&self) -> u64 {
        self.writer.lost()
    }

    /// Writes the usage recorded so far, and repeats failed writes until the timeout. Returns
    /// whether everything was written.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let began = Instant::now();
        let left = || timeout.saturating_sub(began.elapsed());
        while self.writer.flush(left(), false) != Flush::Clean {
            if left().is_zero() {
                return false;
            }
            thread::sleep(RETRY_AFTER.min(left()));
        }
        true
    }

    /// Tries once to write the usage recorded so far, and ends the thread. Returns whether
    /// everything was written within the timeout.
    pub(crate) fn end(&self, timeout: Duration) -> bool {
        self.writer.flush(timeout, true) == Flush::Clean
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        // Does nothing if the thread has already ended.
        self.end(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests;
