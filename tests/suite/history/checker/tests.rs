//! Correct and wrong histories, written by hand. Times are in milliseconds; servers may lag by
//! [`BOUND`].

use std::{ops::RangeInclusive, time::Duration};

use super::{
    super::event::{
        Allowed, Answer, By, Caller, Change, Event, Handle, Moment, Outcome, Request, What,
    },
    Rule, check,
};
use Answer::{Accepted, Lost, Other, Refused, Unavailable};
use Outcome::{Done, Undone, Unknown};

const BOUND: u64 = 1000;
/// The default key and server of a story.
const KEY: usize = 7;
const SERVER: usize = 1;

/// A history that a test builds.
struct Story(Vec<Event>);

impl Story {
    /// Returns a story in which servers 1 and 2 run. The key is issued between 100 and 110, for any
    /// address.
    fn new() -> Self {
        Self(Vec::new()).started(1).started(2).changed(100..=110, Change::Issue(Allowed::Anyone))
    }

    fn tell(mut self, times: RangeInclusive<u64>, what: What) -> Self {
        self.0.push(Event { began: ms(*times.start()), ended: ms(*times.end()), what });
        self
    }

    fn started(self, server: usize) -> Self {
        self.tell(
            0..=10,
            What::Started { server, kind: "plain".to_owned(), bound: Duration::from_millis(BOUND) },
        )
    }

    fn stopped(self, at: u64, server: usize) -> Self {
        self.tell(at..=at, What::Stopped { server })
    }

    fn change(self, times: RangeInclusive<u64>, change: Change, by: By, outcome: Outcome) -> Self {
        self.tell(times, What::Change { key: KEY, change, by, outcome })
    }

    fn changed(self, times: RangeInclusive<u64>, change: Change) -> Self {
        self.change(times, change, By::Admin, Done)
    }

    fn asked(self, times: RangeInclusive<u64>, answer: Answer) -> Self {
        self.asked_of(SERVER, times, answer)
    }

    fn asked_of(self, server: usize, times: RangeInclusive<u64>, answer: Answer) -> Self {
        self.request(server, KEY, Caller::Home, times, answer)
    }

    fn request(
        self,
        server: usize,
        key: usize,
        from: Caller,
        times: RangeInclusive<u64>,
        answer: Answer,
    ) -> Self {
        let request = Request { server, handle: Handle::First, key, from, answer };
        self.tell(times, What::Request(request))
    }

    /// Like [`asked`](Self::asked), but through the other handle.
    fn asked_second(self, times: RangeInclusive<u64>, answer: Answer) -> Self {
        let (server, handle, key, from) = (SERVER, Handle::Second, KEY, Caller::Home);
        self.tell(times, What::Request(Request { server, handle, key, from, answer }))
    }

    fn quiet(self, times: RangeInclusive<u64>) -> Self {
        self.tell(times, What::Quiet)
    }

    #[track_caller]
    fn breaks_nothing(self) {
        let verdict = check(&self.0);
        assert!(verdict.count.is_empty(), "{verdict}");
    }

    #[track_caller]
    fn breaks(self, rule: Rule) {
        self.breaks_all(&[rule]);
    }

    #[track_caller]
    fn breaks_all(self, rules: &[Rule]) {
        let verdict = check(&self.0);
        let broken: Vec<Rule> = verdict.count.keys().copied().collect();
        assert_eq!(broken, rules, "{verdict}");
    }
}

fn ms(milliseconds: u64) -> Moment {
    Moment(0).after(Duration::from_millis(milliseconds))
}

#[test]
fn a_revoked_key_may_be_accepted_until_the_bound() {
    let story =
        |began| Story::new().changed(2000..=2010, Change::Revoke).asked(began..=9000, Accepted);
    // A request that began at most one bound after the revocation may end at any later time.
    story(1000).breaks_nothing();
    story(2005).breaks_nothing();
    story(2010 + BOUND).breaks_nothing();
    story(2010 + BOUND + 1).breaks(Rule::NoneTooLate);
    story(8000).breaks(Rule::NoneTooLate);
}

#[test]
fn other_restrictions_have_the_bound_of_a_revocation() {
    for change in [Change::Disable, Change::Delete, Change::Allow(Allowed::Only(Caller::Abroad))] {
        let story = |began| Story::new().changed(2000..=2010, change).asked(began..=9000, Accepted);
        story(2010 + BOUND).breaks_nothing();
        story(2010 + BOUND + 1).breaks(Rule::NoneTooLate);
    }
}

#[test]
fn an_enabled_key_may_be_rejected_until_the_bound() {
    for (first, then) in [
        (Change::Disable, Change::Enable),
        (Change::Allow(Allowed::Only(Caller::Abroad)), Change::Allow(Allowed::Anyone)),
        (Change::ExpireAt(Some(ms(1500))), Change::ExpireAt(Some(ms(90_000)))),
    ] {
        let story = |at| {
            Story::new()
                .changed(1000..=1010, first)
                .changed(4000..=4010, then)
                .asked(at..=at + 5, Refused)
        };
        story(3900).breaks_nothing();
        story(4010 + BOUND).breaks_nothing();
        story(4010 + BOUND + 1).breaks(Rule::NoneForNothing);
    }
}

#[test]
fn a_key_that_is_good_all_along_is_never_refused() {
    Story::new().asked(110 + BOUND..=1200, Refused).breaks_nothing();
    Story::new().asked(110 + BOUND + 1..=1200, Refused).breaks(Rule::NoneForNothing);
    Story::new()
        .changed(1000..=1010, Change::Rename)
        .asked(1500..=1510, Refused)
        .breaks(Rule::NoneForNothing);
}

#[test]
fn a_key_that_was_never_issued_or_is_not_yet_is_never_accepted() {
    Story::new().request(SERVER, 8, Caller::Home, 500..=510, Accepted).breaks(Rule::NoneTooLate);
    Story::new().request(SERVER, 8, Caller::Home, 500..=510, Refused).breaks_nothing();
    Story::new().asked(90..=99, Accepted).breaks(Rule::NoneTooLate);
    Story::new().asked(90..=100, Accepted).breaks_nothing();
}

#[test]
fn addresses_are_checked_by_where_a_request_comes_from() {
    let story = |from, answer| {
        Story::new().changed(1000..=1010, Change::Allow(Allowed::Only(Caller::Home))).request(
            SERVER,
            KEY,
            from,
            5000..=5010,
            answer,
        )
    };
    story(Caller::Home, Accepted).breaks_nothing();
    story(Caller::Abroad, Refused).breaks_nothing();
    story(Caller::Home, Refused).breaks(Rule::NoneForNothing);
    story(Caller::Abroad, Accepted).breaks(Rule::NoneTooLate);
}

#[test]
fn an_expired_key_is_rejected_at_once() {
    let story = |began, answer| {
        Story::new()
            .changed(1000..=1010, Change::ExpireAt(Some(ms(5000))))
            .asked(began..=began + 10, answer)
    };
    story(4990, Accepted).breaks_nothing();
    story(5200, Accepted).breaks(Rule::NoneTooLate);
    story(5200, Refused).breaks_nothing();
    // A server's time may be ahead of the database's time by the duration of the query that reads
    // it.
    story(4850, Refused).breaks_nothing();
    story(4750, Refused).breaks(Rule::NoneForNothing);
}

#[test]
fn a_change_of_unknown_outcome_allows_both_answers() {
    let story = |outcome, answer| {
        Story::new()
            .change(1000..=1010, Change::Revoke, By::Sql, outcome)
            .asked(8000..=8010, answer)
    };
    story(Unknown, Accepted).breaks_nothing();
    story(Unknown, Refused).breaks_nothing();
    story(Undone, Accepted).breaks_nothing();
    story(Undone, Refused).breaks(Rule::NoneForNothing);
    // The change of unknown outcome may happen late, even after an acknowledged change.
    let late = |answer| {
        Story::new()
            .change(1000..=1010, Change::Enable, By::Sql, Unknown)
            .changed(2000..=2010, Change::Disable)
            .asked(8000..=8010, answer)
    };
    late(Accepted).breaks_nothing();
    late(Refused).breaks_nothing();
    // But no pending change makes a revoked key valid.
    Story::new()
        .change(1000..=1010, Change::Enable, By::Sql, Unknown)
        .changed(2000..=2010, Change::Revoke)
        .asked(8000..=8010, Accepted)
        .breaks(Rule::NoneTooLate);
    Story::new()
        .change(200..=210, Change::Issue(Allowed::Anyone), By::Sql, Unknown)
        .changed(2000..=2010, Change::Revoke)
        .asked(8000..=8010, Accepted)
        .breaks(Rule::NoneTooLate);
}

#[test]
fn a_server_is_behind_by_nothing_for_what_it_changed_itself() {
    let story = |server| {
        Story::new().change(2000..=2010, Change::Revoke, By::Server(SERVER), Done).asked_of(
            server,
            2011..=2012,
            Accepted,
        )
    };
    story(SERVER).breaks(Rule::NoneTooLate);
    story(2).breaks_nothing();
    Story::new()
        .change(2000..=2010, Change::Revoke, By::Server(SERVER), Done)
        .asked(2010..=2012, Accepted)
        .breaks_nothing();
    Story::new()
        .changed(1000..=1010, Change::Disable)
        .change(2000..=2010, Change::Enable, By::Server(SERVER), Done)
        .asked(2011..=2012, Refused)
        .breaks(Rule::NoneForNothing);
    // The server's other handle must not lag behind the change either.
    Story::new()
        .change(2000..=2010, Change::Revoke, By::Server(SERVER), Done)
        .asked_second(2011..=2012, Accepted)
        .breaks(Rule::NoneTooLate);
    // The server may lag behind later changes by others.
    Story::new()
        .change(2000..=2010, Change::Rename, By::Server(SERVER), Done)
        .changed(2020..=2030, Change::Revoke)
        .asked(2500..=2510, Accepted)
        .breaks_nothing();
}

#[test]
fn what_a_server_refused_as_revoked_it_never_accepts_again() {
    let revoked = || Story::new().changed(2000..=2010, Change::Revoke);
    revoked().asked(2100..=2110, Refused).asked(2111..=2120, Accepted).breaks(Rule::NeverRevived);
    // The rejection had not arrived when the later request began, or came from another server or
    // from the server's other handle.
    revoked().asked(2100..=2110, Refused).asked(2110..=2120, Accepted).breaks_nothing();
    revoked().asked_of(2, 2100..=2110, Refused).asked(2111..=2120, Accepted).breaks_nothing();
    revoked().asked_second(2100..=2110, Refused).asked(2111..=2120, Accepted).breaks_nothing();
    // The earliest rejection counts, even if a request that began earlier got its rejection later.
    revoked()
        .asked(2050..=2300, Refused)
        .asked(2100..=2110, Refused)
        .asked(2200..=2210, Accepted)
        .breaks(Rule::NeverRevived);
    // A rejection that something else explains does not prove that the server has seen the
    // revocation.
    Story::new()
        .changed(1500..=1510, Change::Disable)
        .changed(2000..=2010, Change::Enable)
        .changed(2020..=2030, Change::Revoke)
        .asked(2100..=2110, Refused)
        .asked(2111..=2120, Accepted)
        .breaks_nothing();
    Story::new()
        .changed(2000..=2010, Change::Disable)
        .asked(2100..=2110, Refused)
        .asked(2111..=2120, Accepted)
        .breaks_nothing();
}

#[test]
fn unavailable_and_lost_answers_prove_nothing() {
    for answer in [Unavailable, Lost] {
        Story::new().asked(5000..=5010, answer).breaks_nothing();
        Story::new()
            .changed(1000..=1010, Change::Revoke)
            .asked(5000..=5010, answer)
            .breaks_nothing();
    }
    for status in [400, 403, 500] {
        Story::new().asked(5000..=5010, Other(status)).breaks(Rule::NothingElse);
    }
}

#[test]
fn at_rest_every_server_answers_by_the_row() {
    let both = |answer| {
        Story::new()
            .asked_of(1, 5000..=5010, answer)
            .asked_of(2, 5000..=5010, Accepted)
            .quiet(4000..=6000)
    };
    both(Accepted).breaks_nothing();
    both(Unavailable).breaks(Rule::AllComeBack);
    both(Lost).breaks(Rule::AllComeBack);
    both(Refused).breaks_all(&[Rule::NoneForNothing, Rule::AllComeBack]);
    // Only the last response counts, and only if its server still runs.
    both(Unavailable).asked(5100..=5110, Accepted).breaks_nothing();
    both(Unavailable).stopped(5500, 1).breaks_nothing();
    // A server without a request breaks the rule, unless the server was stopped.
    Story::new().asked(5000..=5010, Accepted).quiet(4000..=6000).breaks(Rule::AllComeBack);
    Story::new().asked(5000..=5010, Accepted).stopped(1000, 2).quiet(4000..=6000).breaks_nothing();
    // A server that is unavailable breaks the rule even if the key is invalid.
    Story::new()
        .changed(1000..=1010, Change::Revoke)
        .asked_of(1, 5000..=5010, Refused)
        .asked_of(2, 5000..=5010, Unavailable)
        .quiet(4000..=6000)
        .breaks(Rule::AllComeBack);
}

#[test]
fn the_order_in_which_events_were_written_does_not_matter() {
    let mut story = Story::new()
        .changed(2000..=2010, Change::Disable)
        .changed(3000..=3010, Change::Enable)
        .changed(5000..=5010, Change::Revoke)
        .asked(2500..=2600, Refused)
        .asked(4500..=4510, Accepted)
        .asked(5500..=5510, Accepted);
    story.0.reverse();
    story.breaks_nothing();
}

#[test]
fn how_far_a_server_was_behind_is_measured() {
    let story = Story::new()
        .changed(2000..=2010, Change::Revoke)
        .asked(2030..=2040, Accepted)
        .asked_of(2, 2017..=2040, Accepted);
    let seen = check(&story.0).seen;
    assert_eq!((seen.accepted, seen.changes, seen.behind), (2, 2, 2));
    assert_eq!(seen.most_behind, Duration::from_millis(20));
}

#[test]
fn a_violation_shows_the_changes_and_the_answers() {
    let story = Story::new()
        .changed(2000..=2010, Change::Revoke)
        .asked(2100..=2110, Accepted)
        .asked_of(2, 2100..=2110, Accepted)
        .asked(8000..=8010, Accepted);
    let verdict = check(&story.0).to_string();
    let (_, excerpt) = verdict.split_once("\nVIOLATION: ").unwrap();
    assert!(excerpt.starts_with("server 1 accepted a key that was never valid or no longer valid"));
    for line in [
        "key 7: Issue(Anyone) by Admin: Done",
        "   2.000000 ..    2.010000  key 7: Revoke by Admin: Done",
        "server 1, First: key 7 from Home: Accepted\n> ",
        "server 1 (plain) started; at most 1s behind",
    ] {
        assert!(excerpt.contains(line), "{line}\n{excerpt}");
    }
    assert!(!excerpt.contains("server 2"), "{excerpt}");
}

#[test]
#[should_panic(expected = "changes of one key overlap")]
fn changes_of_one_key_that_overlap_cannot_be_checked() {
    let story =
        Story::new().changed(2000..=2010, Change::Revoke).changed(2005..=2015, Change::Disable);
    check(&story.0);
}

#[test]
fn a_history_that_was_written_is_read_again_as_it_was() {
    let story = Story::new()
        .changed(2000..=2010, Change::Allow(Allowed::Only(Caller::Home)))
        .changed(2020..=2030, Change::ExpireAt(Some(ms(9000))))
        .change(2040..=2050, Change::Revoke, By::Server(2), Unknown)
        .asked(2100..=2110, Accepted)
        .asked(2120..=2130, Other(500))
        .stopped(3000, 1)
        .tell(1..=2, What::Fault { fault: "a\nb".to_owned() })
        .quiet(4000..=5000);
    let lines: Vec<String> =
        story.0.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    assert!(lines.iter().all(|line| !line.contains('\n')));
    let read: Vec<Event> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, story.0);
}
