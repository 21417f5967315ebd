//! The health of the key store and the change feed, for a readiness route.

use std::{fmt, time::Duration};

/// The current health of the key store and the change feed.
///
/// ```
/// use actix_web::{HttpResponse, get};
/// use api_key_runtime::AppKeys;
///
/// #[get("/ready")]
/// async fn ready(keys: AppKeys) -> HttpResponse {
///     let health = keys.health();
///     if health.is_ready() {
///         HttpResponse::Ok().body(health.to_string())
///     } else {
///         HttpResponse::ServiceUnavailable().body(health.to_string())
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Health {
    feed: FeedState,
    staleness: Option<Duration>,
    is_store_available: bool,
}

/// The state of the change feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedState {
    /// The feed has not completed its first read yet.
    Starting,
    /// Every change that was complete `max_staleness` ago is applied.
    Fresh,
    /// The feed is more than `max_staleness` behind. A cached key is looked up again once its last
    /// lookup is older than `max_staleness`.
    Stale,
    /// There is no feed, because the store does not report changes or caching is turned off.
    Unsupported,
}

impl FeedState {
    pub(crate) const ALL: [Self; 4] = [Self::Starting, Self::Fresh, Self::Stale, Self::Unsupported];

    /// Returns the state as one word: `starting`, `fresh`, `stale` or `unsupported`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for FeedState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl Health {
    pub(super) fn new(
        feed: FeedState,
        staleness: Option<Duration>,
        is_store_available: bool,
    ) -> Self {
        Self { feed, staleness, is_store_available }
    }

    /// Returns whether this process is ready for requests: the store is available, and the feed, if
    /// there is one, is fresh.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_store_available && matches!(self.feed, FeedState::Fresh | FeedState::Unsupported)
    }

    /// Returns `false` while the store leaves every call unanswered, and for at least one second
    /// after a failed lookup, unless a later lookup succeeded. Without a feed, only lookups call
    /// the store, so an outage is found only while requests arrive. A store that was not called yet
    /// counts as available.
    #[must_use]
    pub fn is_store_available(&self) -> bool {
        self.is_store_available
    }

    /// Returns the state of the feed.
    #[must_use]
    pub fn feed(&self) -> FeedState {
        self.feed
    }

    /// Returns the age of the cached data: all changes that were complete this long ago are
    /// applied. Returns `None` before the first read, and without a feed.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.staleness
    }
}

/// Writes one readable line without secrets.
impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.feed.as_str())?;
        if let Some(age) = self.staleness {
            write!(formatter, ", {} ms", age.as_millis())?;
        }
        if !self.is_store_available {
            formatter.write_str(", key store unavailable")?;
        }
        Ok(())
    }
}
