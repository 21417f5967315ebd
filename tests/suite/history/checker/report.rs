//! What is said of a history.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::super::event::{Key, Server};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Rule {
    /// A key is accepted only if it was good at most the bound before the request began.
    NoneTooLate,
    /// A key is refused only if it was not good at most the bound before the request began.
    NoneForNothing,
    /// What a server refused as revoked it never accepts again.
    NeverRevived,
    /// A server answers 200, 401 or 503.
    NothingElse,
    /// When nothing is broken or changed any more, every server answers what the row says.
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

/// A rule that does not hold, with the piece of the history that shows it.
#[derive(Debug)]
pub(in super::super) struct Violation {
    pub(in super::super) rule: Rule,
    pub(in super::super) server: Server,
    pub(in super::super) key: Key,
    pub(in super::super) why: String,
    pub(in super::super) excerpt: String,
}

/// What was seen, to tell a run that showed something from one that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Seen {
    pub(in super::super) accepted: usize,
    pub(in super::super) refused: usize,
    pub(in super::super) unavailable: usize,
    pub(in super::super) lost: usize,
    pub(in super::super) changes: usize,
    pub(in super::super) faults: usize,
    /// Requests that were accepted although the key was not good any more when they began.
    pub(in super::super) behind: usize,
    /// How much later than a change was acknowledged the last request began that was still judged by what was before.
    pub(in super::super) most_behind: Duration,
}

#[derive(Debug)]
pub(in super::super) struct Verdict {
    /// The first ones of each rule.
    pub(in super::super) violations: Vec<Violation>,
    pub(in super::super) count: BTreeMap<Rule, usize>,
    pub(in super::super) seen: Seen,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.seen;
        writeln!(
            formatter,
            "{} accepted, {} refused, {} unavailable, {} lost; {} changes, {} faults; {} requests judged by what was before, by {:?} at most",
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
