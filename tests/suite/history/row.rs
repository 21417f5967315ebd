//! The possible states of a key's row, derived from a history.

use std::time::Duration;

use super::event::{Allowed, By, Caller, Change, Moment, Outcome, Server};

/// The smallest difference between two moments.
const INSTANT: Duration = Duration::from_nanos(1);

/// The tolerance for keys that a server accepts after their expiry. It covers the drift between the
/// wall clock and the clock of the history.
const WALL_CLOCK_TOLERANCE: Duration = Duration::from_millis(50);
/// The tolerance for keys that a server rejects before their expiry. A server reads the database's
/// time with a query. The server's time may be ahead of the database's time by the duration of that
/// query.
const AHEAD_TOLERANCE: Duration = Duration::from_millis(200);

/// The contents of a key's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) exists: bool,
    pub(super) revoked: bool,
    pub(super) disabled: bool,
    pub(super) allowed: Allowed,
    pub(super) expires_at: Option<Moment>,
}

impl Row {
    pub(super) const NONE: Self = Self {
        exists: false,
        revoked: false,
        disabled: false,
        allowed: Allowed::Anyone,
        expires_at: None,
    };

    pub(super) fn after(self, change: Change) -> Self {
        match change {
            Change::Issue(allowed) if !self.exists => Self { exists: true, allowed, ..Self::NONE },
            _ if !self.exists => self,
            Change::Revoke => Self { revoked: true, ..self },
            Change::Disable => Self { disabled: true, ..self },
            Change::Enable => Self { disabled: false, ..self },
            Change::Allow(allowed) => Self { allowed, ..self },
            Change::ExpireAt(expires_at) => Self { expires_at, ..self },
            Change::Delete => Self::NONE,
            Change::Rename | Change::Issue(_) => self,
        }
    }

    /// Returns whether the row accepts this caller, regardless of expiry.
    fn lets_in(&self, caller: Caller) -> bool {
        let here = match self.allowed {
            Allowed::Anyone => true,
            Allowed::Only(one) => one == caller,
        };
        self.exists && !self.revoked && !self.disabled && here
    }

    /// Returns whether this row may accept a request from this caller if the key is checked at
    /// `judged_after` or later.
    pub(super) fn may_accept(&self, caller: Caller, judged_after: Moment) -> bool {
        self.lets_in(caller)
            && self.expires_at.is_none_or(|end| end.after(WALL_CLOCK_TOLERANCE) > judged_after)
    }

    /// Returns whether this row may reject a request from this caller if the key is checked at
    /// `judged_before` or earlier.
    pub(super) fn may_refuse(&self, caller: Caller, judged_before: Moment) -> bool {
        !self.lets_in(caller)
            || self.expires_at.is_some_and(|end| end.before(AHEAD_TOLERANCE) <= judged_before)
    }
}

/// A change of one key's row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) change: Change,
    pub(super) by: By,
    pub(super) outcome: Outcome,
}

/// An inclusive interval during which the row was always one of `rows`.
#[derive(Debug)]
struct Span {
    from: Moment,
    until: Moment,
    rows: Vec<Row>,
}

/// The possible states of one key's row at every moment.
#[derive(Debug)]
pub(super) struct Timeline {
    spans: Vec<Span>,
    /// For each change made through a server, the server and the time of the acknowledgement.
    own: Vec<(Server, Moment)>,
}

impl Timeline {
    /// Builds the timeline of one key from its changes, which are sorted and do not overlap.
    pub(super) fn of(changes: &[Made]) -> Self {
        let mut line = Self { spans: Vec::new(), own: Vec::new() };
        let mut rows = vec![Row::NONE];
        // Changes with an unknown outcome. Each may take effect at any later time or never.
        let mut open: Vec<Change> = Vec::new();
        for made in changes {
            line.extend(made.began.before(INSTANT), &rows);
            let before = rows.clone();
            match made.outcome {
                Outcome::Undone => {}
                Outcome::Done => {
                    let after = rows.iter().map(|row| row.after(made.change));
                    rows = any_of(after, &open);
                    if let By::Server(server) = made.by {
                        line.own.push((server, made.ended));
                    }
                }
                Outcome::Unknown => {
                    open.push(made.change);
                    rows = any_of(rows, &open);
                }
            }
            line.extend(made.ended, &any_of(before.into_iter().chain(rows.clone()), &[]));
        }
        line.extend(Moment::LAST, &rows);
        line
    }

    fn extend(&mut self, until: Moment, rows: &[Row]) {
        let from = self.spans.last().map_or(Moment(0), |last| last.until.after(INSTANT));
        // Two changes may be adjacent, so the interval between them may be empty.
        if from <= until {
            self.spans.push(Span { from, until, rows: rows.to_vec() });
        }
    }

    /// Returns every row that the server may have used for a request from `began` to `ended`, if
    /// the server lags by at most `bound`, and never behind its own changes.
    pub(super) fn readable(
        &self,
        server: Server,
        began: Moment,
        ended: Moment,
        bound: Duration,
    ) -> Vec<Row> {
        let own = self
            .own
            .iter()
            .filter(|(by, acknowledged)| *by == server && *acknowledged < began)
            .map(|(_, acknowledged)| acknowledged.after(INSTANT))
            .max();
        let from = began.before(bound).max(own.unwrap_or(Moment(0)));
        let spans = self.spans.iter().filter(|span| span.from <= ended && from <= span.until);
        any_of(spans.flat_map(|span| span.rows.iter().copied()), &[])
    }

    /// Returns the last moment, at most `until`, at which the row may have satisfied `is`.
    pub(super) fn last_time(&self, until: Moment, is: impl Fn(&Row) -> bool) -> Option<Moment> {
        self.spans
            .iter()
            .rev()
            .find(|span| span.from <= until && span.rows.iter().any(&is))
            .map(|span| span.until.min(until))
    }

    /// Returns the possible rows after all changes.
    pub(super) fn at_last(&self) -> &[Row] {
        self.spans.last().map_or(&[], |span| &span.rows)
    }
}

/// Returns these rows and every row that the changes in `open` may produce from them, without
/// duplicates.
fn any_of(rows: impl IntoIterator<Item = Row>, open: &[Change]) -> Vec<Row> {
    let mut all: Vec<Row> = Vec::new();
    let mut new: Vec<Row> = rows.into_iter().collect();
    while let Some(row) = new.pop() {
        if !all.contains(&row) {
            all.push(row);
            new.extend(open.iter().map(|change| row.after(*change)));
        }
    }
    all
}
