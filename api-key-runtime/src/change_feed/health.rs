//! What an application may ask of its keys' freshness, for a readiness route.

use std::{fmt, time::Duration};

/// Whether keys can be judged at the moment, and how fresh what is known of them is.
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

/// What the feed of changed keys is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedState {
    /// It has not completed a round yet.
    Starting,
    /// Every change is applied that was complete within the last `max_staleness`.
    Fresh,
    /// It is behind by more: each key is asked for anew when it was last read longer ago than that.
    Stale,
    /// There is none: the store does not tell its changes, or nothing is cached.
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

    /// Whether requests can be sent here: the store answers and, where there is a feed, it is up to
    /// date.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_store_available && matches!(self.feed, FeedState::Fresh | FeedState::Unsupported)
    }

    /// Whether the store answers what it is asked; while it has not been asked, it is taken to.
    #[must_use]
    pub fn is_store_available(&self) -> bool {
        self.is_store_available
    }

    /// What the feed is at.
    #[must_use]
    pub fn feed(&self) -> FeedState {
        self.feed
    }

    /// How long ago the moment is up to which every change has been applied; `None` before the
    /// first round, and without a feed.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.staleness
    }
}

/// One line for people, with nothing secret in it.
impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.feed.as_str())?;
        if let Some(age) = self.staleness {
            write!(formatter, ", {} ms", age.as_millis())?;
        }
        if !self.is_store_available {
            formatter.write_str(", the key store does not answer")?;
        }
        Ok(())
    }
}
