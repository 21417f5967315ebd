//! The changes that a store reports. Changed keys are dropped from the cache at once.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::StoreError;
use crate::key::KeyDigest;

/// A feed of the changes in a store, opened by [`KeyStore::watch`](super::KeyStore::watch).
///
/// Each feed has its own position in the change log. One thread at a time uses a feed. After its
/// first error, a feed is dropped, and the next feed starts with [`Changed::Everything`] again.
///
/// ```
/// use std::{thread, time::Duration};
///
/// use api_key_runtime::store::{ChangeFeed, Changed, Changes, KeyDigest, StoreError};
///
/// /// Reads the change log of a store, a list of digests.
/// struct LogFeed<F> {
///     read_log: F,
///     /// The number of log entries read so far; `None` before the first read.
///     position: Option<usize>,
/// }
///
/// impl<F: Fn() -> Vec<KeyDigest> + Send> ChangeFeed for LogFeed<F> {
///     fn changes(&mut self) -> Result<Changes, StoreError> {
///         let log = (self.read_log)();
///         // A log shorter than before was truncated: any key may have changed.
///         let new = self.position.and_then(|position| log.get(position..));
///         let changed = new.map_or(Changed::Everything, |new| Changed::Keys(new.to_vec()));
///         self.position = Some(log.len());
///         Ok(Changes::new(changed))
///     }
///
///     fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
///         thread::sleep(at_most.min(Duration::from_millis(50)));
///         Ok(())
///     }
/// }
/// # let mut feed = LogFeed { read_log: || vec![KeyDigest::from_bytes([1; 32])], position: None };
/// # assert_eq!(feed.changes()?.changed, Changed::Everything);
/// # assert_eq!(feed.changes()?.changed, Changed::Keys(Vec::new()));
/// # feed.wait(Duration::ZERO)?;
/// # Ok::<(), StoreError>(())
/// ```
pub trait ChangeFeed: Send {
    /// Returns everything that changed since the last call. The first call returns
    /// [`Changed::Everything`].
    ///
    /// The read must begin after the call begins, and must not use a replica that may lag behind.
    /// The result must contain every key whose change was complete when the call began. While calls
    /// succeed, cached keys are used without a lookup. So if a change is left out, a revoked key
    /// keeps working.
    ///
    /// A call counts as hung after twice the lookup timeout or 2 seconds, whichever is longer. Each
    /// consecutive hung call doubles this time, up to 32 seconds. The thread of a hung call is
    /// abandoned: another thread opens a new feed, and the late result is ignored.
    ///
    /// # Errors
    /// Returns an error if the changes cannot be read. The feed is then dropped and another feed
    /// opened. Until a feed can be read again, a cached key is looked up again once its last lookup
    /// is older than `max_staleness`.
    fn changes(&mut self) -> Result<Changes, StoreError>;

    /// Blocks until something may have changed, but no longer than `at_most`. Spurious and missed
    /// wake-ups are allowed. If a wake-up is missed, the change is found later, after the whole
    /// wait.
    ///
    /// A call counts as hung when it exceeds `at_most` by more than the time allowed for a call to
    /// [`changes`](Self::changes).
    ///
    /// # Errors
    /// Returns an error if the connection is lost. The feed is then dropped and another feed
    /// opened.
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError>;
}

/// The result of one read of a [`ChangeFeed`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "return the changes from `ChangeFeed::changes`, or a revoked key keeps working"]
pub struct Changes {
    /// The keys that may have changed since the last read of the feed.
    pub changed: Changed,
    /// The time of the read by the store's clock. If set, key expiry is checked against this time
    /// instead of the local wall clock. Between reads, the process's monotonic clock advances this
    /// time. Defaults to `None`.
    pub time: Option<DateTime<Utc>>,
}

impl Changes {
    /// Creates the result of a read.
    pub const fn new(changed: Changed) -> Self {
        Self { changed, time: None }
    }

    /// Sets the time of the read by the store's clock.
    pub fn with_time(mut self, time: DateTime<Utc>) -> Self {
        self.time = Some(time);
        self
    }
}

/// The keys that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changed {
    /// Any key may have changed. This is the result of the first read of a feed, and of a read that
    /// finds a gap in the change log.
    Everything,
    /// The keys with these digests may have changed, and no other keys. An empty list means that no
    /// key changed.
    Keys(Vec<KeyDigest>),
}
