//! The report about a history.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::super::event::{Key, Server};

/// The rules that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Rule {
    /// A key is accepted only if it was valid at most the bound before the request began.
    NoneTooLate,
    /// A key is rejected only if it was invalid at most the bound before the request began.
    NoneForNothing,
    /// A server never accepts a key that it has rejected as revoked.
    NeverRevived,
    /// A server returns 200, 401 or 503.
    NothingElse,
    /// After the last fault and change, every server's responses agree with the rows.
    AllComeBack,
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoneTooLate => "accepted a key that was not good any more, or never",
            Self::NoneForNothing => "refused a key that was good",
            Self::NeverRevived => "accepted a key that it had refused as revoked",
            Self::NothingElse => "answered neither 200, 401 nor 503",
            Self::AllComeBack => "did not answer what the row says after all was quiet",
        })
    }
}

/// A broken rule, with the part of the history that proves it.
#[derive(Debug)]
pub(in super::super) struct Violation {
    pub(in super::super) rule: Rule,
    pub(in super::super) server: Server,
    pub(in super::super) key: Key,
    pub(in super::super) why: String,
    pub(in super::super) excerpt: String,
}

/// The numbers of events, which distinguish a meaningful run from one that proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Seen {
    pub(in super::super) accepted: usize,
    pub(in super::super) refused: usize,
    pub(in super::super) unavailable: usize,
    pub(in super::super) lost: usize,
    pub(in super::super) changes: usize,
    pub(in super::super) faults: usize,
    /// Requests that were accepted although the key was already invalid when they began.
    pub(in super::super) behind: usize,
    /// The longest time between the acknowledgement of a change and the beginning of a request that
    /// did not see it.
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
