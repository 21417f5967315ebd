//! The events of a history. Each event is written as one line of JSON, so that a history can be
//! read and checked again.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Nanoseconds since the start of the run, by the clock of the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    pub(super) const LAST: Self = Self(u64::MAX);

    pub(super) fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(by)))
    }

    pub(super) fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(by)))
    }

    /// Returns the time since the other moment, or zero if that moment is not earlier.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::LAST {
            return formatter.pad("the end");
        }
        let microseconds = self.0 / 1000;
        let text = format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000);
        formatter.pad(&text)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The number of a key in this run. A history never contains the key itself.
pub(super) type Key = usize;

/// The number of a server process. A process that replaces it has another number.
pub(super) type Server = usize;

/// One of the `AppKeys` handles of a server process. Each handle has its own cache and feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Handle {
    First,
    Second,
}

impl Handle {
    pub(super) const ALL: [Self; 2] = [Self::First, Self::Second];

    /// Returns the path of the route that this handle guards.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::First => "/guarded",
            Self::Second => "/second/guarded",
        }
    }
}

/// An event of a run, with its start and end time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    pub(super) began: Moment,
    pub(super) ended: Moment,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum What {
    /// A server began to serve. A request that begins more than `bound` after a change must not
    /// depend on the state before the change.
    Started { server: Server, kind: String, bound: Duration },
    /// The server process was killed.
    Stopped { server: Server },
    /// A request. The event begins before the request is sent. It ends when the response has
    /// arrived or counts as lost.
    Request(Request),
    /// A change of a key's row. The event begins before the change is made. It ends when the change
    /// was acknowledged or the attempt has failed.
    Change { key: Key, change: Change, by: By, outcome: Outcome },
    /// A fault. The event ends when the fault is repaired. A fault without a repair, such as a
    /// wrong clock, ends at once.
    Fault { fault: String },
    /// A phase without faults and changes, in which the same keys were presented to every server.
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) server: Server,
    pub(super) handle: Handle,
    pub(super) key: Key,
    pub(super) from: Caller,
    pub(super) answer: Answer,
}

/// The caller of a request, identified by the client IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Caller {
    Home,
    Abroad,
}

impl Caller {
    pub(super) fn address(self) -> &'static str {
        match self {
            Self::Home => "198.51.100.7",
            Self::Abroad => "203.0.113.9",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The handler ran.
    Accepted,
    /// 401: the server rejects the key.
    Refused,
    /// 503: the server cannot check the key.
    Unavailable,
    /// No response came.
    Lost,
    /// Any other status, which no server should return.
    Other(u16),
}

/// A change of a row. In JSON, the change is a string, or an object with one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Issue(Allowed),
    Revoke,
    Disable,
    Enable,
    Allow(Allowed),
    ExpireAt(Option<Moment>),
    Delete,
    /// A change of the name, which does not affect authorization.
    Rename,
}

/// The callers that the IP allow list of a row accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Allowed {
    Anyone,
    Only(Caller),
}

/// The author of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// A server, through an `Admin` in its own process. When the change is acknowledged, every
    /// handle of that server must have applied it.
    Server(Server),
    /// An `Admin` in a process without a server.
    Admin,
    /// Direct SQL.
    Sql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The change was acknowledged.
    Done,
    /// The change certainly did not happen.
    Undone,
    /// The change may have happened at any time since its beginning, may still happen, or may never
    /// happen.
    Unknown,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>11} .. {:>11}  ", self.began, self.ended)?;
        match &self.what {
            What::Started { server, kind, bound } => {
                write!(formatter, "server {server} ({kind}) started; at most {bound:?} behind")
            }
            What::Stopped { server } => write!(formatter, "server {server} stopped"),
            What::Request(Request { server, handle, key, from, answer }) => {
                write!(
                    formatter,
                    "server {server}, {handle:?}: key {key} from {from:?}: {answer:?}"
                )
            }
            What::Change { key, change, by, outcome } => {
                write!(formatter, "key {key}: {change:?} by {by:?}: {outcome:?}")
            }
            What::Fault { fault } => write!(formatter, "FAULT {fault}"),
            What::Quiet => write!(formatter, "quiet"),
        }
    }
}
