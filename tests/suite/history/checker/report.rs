//! The report about a history.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::super::event::{Key, Server};

/// The rules that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Rule {
    /// An accepted key was valid during the request, or at most one bound before the request.
    NoneTooLate,
    /// A rejected key was invalid during the request, or at most one bound before the request.
    NoneForNothing,
    /// A server's handle never accepts a key that it has rejected as revoked.
    NeverRevived,
    /// A server returns 200, 401 or 503.
    NothingElse,
    /// After the last fault and change, every server's responses agree with the rows.
    AllComeBack,
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoneTooLate => "accepted a key that was never valid or no longer valid",
            Self::NoneForNothing => "rejected a valid key",
            Self::NeverRevived => "accepted a key that it had rejected as revoked",
            Self::NothingElse => "answered neither 200, 401 nor 503",
            Self::AllComeBack => "did not respond as the row requires in the quiet phase",
        })
    }
}

/// A violated rule, with the part of the history that proves the violation.
#[derive(Debug)]
pub(in super::super) struct Violation {
    pub(in super::super) rule: Rule,
    pub(in super::super) server: Server,
    pub(in super::super) key: Key,
    pub(in super::super) why: String,
    pub(in super::super) excerpt: String,
}

/// Counts that show whether enough happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Seen {
    pub(in super::super) accepted: usize,
    pub(in super::super) refused: usize,
    pub(in super::super) unavailable: usize,
    pub(in super::super) lost: usize,
    pub(in super::super) changes: usize,
    pub(in super::super) faults: usize,
    /// Requests whose response agrees only with a row from before the request.
    pub(in super::super) behind: usize,
    /// The longest time between the acknowledgement of a change and the beginning of a request that
    /// did not see the change.
    pub(in super::super) most_behind: Duration,
}

#[derive(Debug)]
pub(in super::super) struct Verdict {
    /// The first violations of each rule.
    pub(in super::super) violations: Vec<Violation>,
    pub(in super::super) count: BTreeMap<Rule, usize>,
    pub(in super::super) seen: Seen,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.seen;
        writeln!(
            formatter,
            "{} accepted, {} refused, {} unavailable, {} lost; {} changes, {} faults; {} requests compared with earlier rows, at most {:?} back",
            seen.accepted,
            seen.refused,
            seen.unavailable,
            seen.lost,
            seen.changes,
            seen.faults,
            seen.behind,
            seen.most_behind,
        )?;
        for (rule, count) in &self.count {
            writeln!(formatter, "VIOLATION, {count} times: a server {rule}")?;
        }
        for violation in &self.violations {
            let Violation { rule, server, key, why, excerpt } = violation;
            writeln!(
                formatter,
                "\nVIOLATION: server {server} {rule} (key {key}): {why}\n{excerpt}"
            )?;
        }
        Ok(())
    }
}
