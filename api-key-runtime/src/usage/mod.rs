//! When each key was used last, from where and how often: noted by requests in passing, written by
//! a thread of its own.
//!
//! A request touches atomics of the key it presented, and a list of keys when it is that key's
//! first since the last write. Nothing that goes wrong with writing reaches it: what cannot be
//! written is kept, up to a bound, and tried again.

mod usage_buffer;
mod usage_cell;
mod writer;

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::usage_cell::UsageCell;
use self::writer::Flush;
pub(crate) use self::writer::Writer;
use crate::{
    clock::{Clock, MonotonicTime},
    error::Error,
    store::KeyStore,
    workers::Workers,
};

/// Of a shorter one the thread would do nothing else.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// How long a write may take until another thread takes over: longer than a live database takes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a flush that failed waits before it tries again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A key whose usage is counted. It is kept until its counts are written, whatever becomes of it in
/// a cache.
pub(crate) trait Counted: Send + Sync {
    fn id(&self) -> i64;
    fn usage(&self) -> &UsageCell;
}

/// Counts uses; its thread ends when this is dropped.
pub(crate) struct Usage {
    writer: Arc<Writer>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Usage").finish_non_exhaustive()
    }
}

impl Usage {
    /// Starts the thread that has the store write uses this often.
    pub(crate) fn start(
        store: Arc<dyn KeyStore>,
        clock: Clock,
        interval: Duration,
        workers: Workers,
    ) -> Result<Self, Error> {
        let interval = interval.max(MIN_INTERVAL);
        Ok(Self { writer: Writer::start(store, clock, interval, WRITE_TIMEOUT, workers)? })
    }

    /// What writes, for the supervisor.
    pub(crate) fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    /// Notes that a request was let through with this key. It neither waits for the store nor, but
    /// for a key's first use since the last write and for a change of address, takes a lock.
    #[inline]
    pub(crate) fn note<K: Counted + 'static>(
        &self,
        key: &Arc<K>,
        now: MonotonicTime,
        address: Option<IpAddr>,
    ) {
        if key.usage().note(now, address) {
            self.writer.enlist(Arc::<K>::clone(key));
        }
    }

    /// Uses that were lost because too many keys waited.
    pub(crate) fn lost(&self) -> u64 {
        self.writer.lost()
    }

    /// Writes what was noted so far, trying again until the time is over; whether all of it was
    /// written.
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

    /// Writes what was noted so far, once, and ends the thread; whether all of it was written
    /// within this time.
    pub(crate) fn end(&self, timeout: Duration) -> bool {
        self.writer.flush(timeout, true) == Flush::Clean
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        // Where it has ended already this does nothing.
        self.end(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests;
