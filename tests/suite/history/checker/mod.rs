//! Checks a history: whether a server wrongly accepted or rejected a key.
//!
//! A server may lag behind the database by its bound, except for changes made through that server.
//! A response is correct if it agrees with the row at some moment in an interval. The interval
//! begins one bound before the request and ends with the response. A change may take effect at any
//! moment from its beginning to its acknowledgement. After a change of unknown outcome, a response
//! is correct if it agrees with the row before or after that change.

mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    time::Duration,
};

pub(super) use self::report::{Rule, Seen, Verdict, Violation};
use super::{
    event::{Answer, Caller, Event, Handle, Key, Moment, Request, Server, What},
    row::{Made, Row, Timeline},
};

/// The maximum number of violations of a rule that are shown in full. Further violations are only
/// counted.
const SHOWN: usize = 3;
/// The maximum number of lines in an excerpt.
const EXCERPT_LINES: usize = 40;
/// An excerpt begins this long before the last moment at which the response was correct.
const EXCERPT_BEFORE: Duration = Duration::from_millis(300);

/// Checks the events of a history, which may be in any order.
pub(super) fn check(history: &[Event]) -> Verdict {
    let mut events: Vec<&Event> = history.iter().collect();
    events.sort_by_key(|event| (event.began, event.ended));
    let mut checker = Checker {
        timelines: timelines(&events),
        bounds: bounds(&events),
        stopped: stopped(&events),
        nothing: Timeline::of(&[]),
        refused_as_revoked: HashMap::new(),
        events,
        verdict: Verdict { violations: Vec::new(), count: BTreeMap::new(), seen: Seen::default() },
    };
    for event in checker.events.clone() {
        match &event.what {
            What::Request(request) => checker.request(event, *request),
            What::Change { .. } => checker.verdict.seen.changes += 1,
            What::Fault { .. } => checker.verdict.seen.faults += 1,
            What::Quiet => checker.quiet(event),
            What::Started { .. } | What::Stopped { .. } => {}
        }
    }
    checker.never_revived();
    checker.verdict
}

fn timelines(events: &[&Event]) -> HashMap<Key, Timeline> {
    let mut changes: HashMap<Key, Vec<Made>> = HashMap::new();
    for event in events {
        if let What::Change { key, change, by, outcome } = event.what {
            let of_key = changes.entry(key).or_default();
            assert!(
                of_key.last().is_none_or(|last| last.ended <= event.began),
                "changes of one key overlap: {event}"
            );
            of_key.push(Made { began: event.began, ended: event.ended, change, by, outcome });
        }
    }
    changes.into_iter().map(|(key, changes)| (key, Timeline::of(&changes))).collect()
}

fn bounds(events: &[&Event]) -> HashMap<Server, Duration> {
    let started = events.iter().filter_map(|event| match event.what {
        What::Started { server, bound, .. } => Some((server, bound)),
        _ => None,
    });
    started.collect()
}

fn stopped(events: &[&Event]) -> HashMap<Server, Moment> {
    let stopped = events.iter().filter_map(|event| match event.what {
        What::Stopped { server } => Some((server, event.began)),
        _ => None,
    });
    stopped.collect()
}

struct Checker<'a> {
    /// All events, sorted by start time.
    events: Vec<&'a Event>,
    timelines: HashMap<Key, Timeline>,
    /// The timeline of a key that was never issued.
    nothing: Timeline,
    bounds: HashMap<Server, Duration>,
    stopped: HashMap<Server, Moment>,
    /// For each server, handle and key, the time of the first rejection that only a revocation
    /// explains.
    refused_as_revoked: HashMap<(Server, Handle, Key), Moment>,
    verdict: Verdict,
}

impl Checker<'_> {
    fn timeline(&self, key: Key) -> &Timeline {
        self.timelines.get(&key).unwrap_or(&self.nothing)
    }

    fn request(&mut self, event: &Event, request: Request) {
        let seen = &mut self.verdict.seen;
        match request.answer {
            Answer::Accepted => {
                seen.accepted += 1;
                self.accepted(event, request);
            }
            Answer::Refused => {
                seen.refused += 1;
                self.refused(event, request);
            }
            Answer::Unavailable => seen.unavailable += 1,
            Answer::Lost => seen.lost += 1,
            Answer::Other(status) => {
                let why = format!("the status was {status}");
                self.violation(Rule::NothingElse, event, request, event.began, why);
            }
        }
    }

    fn readable(&self, event: &Event, request: Request) -> Vec<Row> {
        let bound = self.bounds.get(&request.server).copied().unwrap_or_default();
        self.timeline(request.key).readable(request.server, event.began, event.ended, bound)
    }

    fn accepted(&mut self, event: &Event, request: Request) {
        let may_accept = |row: &Row| row.may_accept(request.from, event.began);
        let last = self.timeline(request.key).last_time(event.ended, may_accept);
        if let Some(last) = last {
            self.was_behind(event, last);
        }
        if !self.readable(event, request).iter().any(may_accept) {
            let why = why_too_late(event, last, "valid");
            let from = last.unwrap_or(event.began);
            self.violation(Rule::NoneTooLate, event, request, from, why);
        }
    }

    fn was_behind(&mut self, event: &Event, last: Moment) {
        if last < event.began {
            let seen = &mut self.verdict.seen;
            seen.behind += 1;
            seen.most_behind = seen.most_behind.max(event.began.since(last));
        }
    }

    fn refused(&mut self, event: &Event, request: Request) {
        let may_refuse = |row: &Row| row.may_refuse(request.from, event.ended);
        let last = self.timeline(request.key).last_time(event.ended, may_refuse);
        let readable = self.readable(event, request);
        if !readable.iter().any(may_refuse) {
            let why = why_too_late(event, last, "invalid");
            let from = last.unwrap_or(event.began);
            self.violation(Rule::NoneForNothing, event, request, from, why);
            return;
        }
        if let Some(last) = last {
            self.was_behind(event, last);
        }
        let by_revocation_alone = readable.iter().all(|row| row.revoked || !may_refuse(row));
        if by_revocation_alone {
            let asked = (request.server, request.handle, request.key);
            let first = self.refused_as_revoked.entry(asked).or_insert(event.ended);
            *first = event.ended.min(*first);
        }
    }

    /// Finds revoked keys that a handle accepted again. Runs after all rejections are collected,
    /// because a response may arrive long after the response to a later request.
    fn never_revived(&mut self) {
        for event in self.events.clone() {
            let What::Request(request) = event.what else {
                continue;
            };
            let asked = (request.server, request.handle, request.key);
            let refused = self.refused_as_revoked.get(&asked).copied();
            if request.answer == Answer::Accepted
                && let Some(refused) = refused
                && refused < event.began
            {
                let why = format!(
                    "the request began at {}, and the handle had sent a rejection that only the revocation explains at {refused}",
                    event.began
                );
                self.violation(Rule::NeverRevived, event, request, refused, why);
            }
        }
    }

    /// Checks every server that still runs: the last response of each handle to each key must agree
    /// with the final row. If the final row is uncertain, acceptance and rejection are both
    /// correct.
    fn quiet(&mut self, quiet: &Event) {
        let mut last: BTreeMap<(Server, Handle, Key), (&Event, Request)> = BTreeMap::new();
        for event in self.events.clone() {
            if let What::Request(request) = event.what
                && event.began >= quiet.began
                && event.ended <= quiet.ended
                && self.runs_at(request.server, quiet.ended)
            {
                last.insert((request.server, request.handle, request.key), (event, request));
            }
        }
        let servers: Vec<Server> = self.bounds.keys().copied().collect();
        for server in servers {
            if self.runs_at(server, quiet.ended) && !last.keys().any(|(asked, ..)| *asked == server)
            {
                let request = Request {
                    server,
                    handle: Handle::First,
                    key: 0,
                    from: Caller::Home,
                    answer: Answer::Lost,
                };
                let why = "the server received no request".to_owned();
                self.violation(Rule::AllComeBack, quiet, request, quiet.began, why);
            }
        }
        for (event, request) in last.into_values() {
            let rows = self.timeline(request.key).at_last();
            let good = rows.iter().all(|row| !row.may_refuse(request.from, event.ended));
            let bad = rows.iter().all(|row| !row.may_accept(request.from, event.began));
            if good && request.answer != Answer::Accepted
                || bad && request.answer != Answer::Refused
            {
                let why = format!("the row is {rows:?}");
                self.violation(Rule::AllComeBack, event, request, quiet.began, why);
            }
        }
    }

    fn runs_at(&self, server: Server, moment: Moment) -> bool {
        self.stopped.get(&server).is_none_or(|stopped| *stopped > moment)
    }

    fn violation(
        &mut self,
        rule: Rule,
        event: &Event,
        request: Request,
        from: Moment,
        why: String,
    ) {
        let count = self.verdict.count.entry(rule).or_default();
        *count += 1;
        if *count <= SHOWN {
            let excerpt = self.excerpt(event, request, from.before(EXCERPT_BEFORE));
            self.verdict.violations.push(Violation {
                rule,
                server: request.server,
                key: request.key,
                why,
                excerpt,
            });
        }
    }

    /// Returns the events that explain a violation, up to the response: every change of the key,
    /// and the faults and the server's requests with the key since `from`.
    fn excerpt(&self, offender: &Event, request: Request, from: Moment) -> String {
        let concerns = |event: &&&Event| {
            let overlaps = event.began <= offender.ended && event.ended >= from;
            match &event.what {
                What::Change { key, .. } => *key == request.key && event.began <= offender.ended,
                What::Request(other) => {
                    overlaps && other.key == request.key && other.server == request.server
                }
                What::Started { server, .. } | What::Stopped { server } => {
                    *server == request.server
                }
                What::Fault { .. } | What::Quiet => overlaps,
            }
        };
        let lines: Vec<&&Event> = self.events.iter().filter(concerns).collect();
        let dropped = lines.len().saturating_sub(EXCERPT_LINES);
        let mut text = String::new();
        if dropped > 0 {
            let _ = writeln!(text, "  (.. {dropped} earlier lines)");
        }
        for event in &lines[dropped..] {
            let mark = if std::ptr::eq(**event, offender) { '>' } else { ' ' };
            let _ = writeln!(text, "{mark} {event}");
        }
        text
    }
}

fn why_too_late(event: &Event, last: Option<Moment>, what: &str) -> String {
    match last {
        None => format!("the key had never been {what}"),
        Some(last) => format!(
            "the request began at {}, {:?} after the key may last have been {what}",
            event.began,
            event.began.since(last)
        ),
    }
}
