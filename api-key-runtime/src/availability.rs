//! Whether the store answers: noted by everyone who asks it, so that nobody waits in vain for one that is away.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use crate::{StoreError, clock::Moment, spell::Spell, sync::lock};

/// How long whoever is sent to try a silent store has until the call shows.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// What is noted of the calls to a store.
#[derive(Debug)]
pub(crate) struct Availability {
    /// How long the store may leave every call unanswered until it counts as away.
    patience: Duration,
    /// What takes longer is answered too late for whoever asked.
    deadline: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that are under way, by whom and since when.
    under_way: HashMap<CallId, (Asker, Moment)>,
    next: CallId,
    last_answer: Moment,
    /// While the store left everything unanswered, and has answered nothing since.
    silence: Option<Silence>,
    outage: Spell,
    /// Requests that were let through since it began.
    let_through: u64,
}

#[derive(Debug)]
struct Silence {
    /// When it last showed.
    seen: Moment,
    /// When somebody was last sent to try the store.
    tried: Moment,
}

type CallId = u64;

/// Who asks the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Feed,
    LookUp,
}

/// A call that is under way.
#[derive(Clone, Copy, Debug)]
#[must_use = "a call that never ends counts as unanswered"]
pub(crate) struct Call(CallId);

impl Availability {
    /// The patience is less than the deadline, so that those who come later are refused at once, and by default no more than it takes
    /// until nothing cached is believed any longer.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self { patience: deadline.saturating_mul(5) / 8, deadline, state: Mutex::default() }
    }

    /// Somebody asks the store.
    pub(crate) fn asked(&self, by: Asker, now: Moment) -> Call {
        let mut state = self.state();
        let id = state.next;
        state.next = id.saturating_add(1);
        state.under_way.insert(id, (by, now));
        Call(id)
    }

    /// The store answered, or failed and said so. Logs, and so is called without a lock.
    pub(crate) fn answered(&self, call: Call, error: Option<&StoreError>, now: Moment) {
        let mut state = self.state();
        let asked = state.under_way.remove(&call.0).map(|(_, since)| since);
        let was_waited_for = asked.is_some();
        match error {
            // What somebody gave up long ago says nothing of today.
            Some(_) if !was_waited_for => {}
            None => {
                state.last_answer = now;
                if asked.is_some_and(|asked| now.since(asked) <= self.deadline) {
                    state.silence = None;
                } else if let Some(silence) = &mut state.silence {
                    // It came too late for who asked, and so will the next.
                    silence.seen = now;
                }
                if let Some(away_for) = state.outage.went_well(now) {
                    let let_through = mem::take(&mut state.let_through);
                    drop(state);
                    log::info!(
                        "the key store answers again, after {:.1} s; {let_through} requests were let through meanwhile as keys were last known",
                        away_for.as_secs_f64()
                    );
                }
            }
            Some(error) => {
                if let Some(silence) = &mut state.silence {
                    silence.seen = now;
                }
                let is_first = state.outage.failed(now);
                drop(state);
                if is_first {
                    log::error!(
                        "the key store cannot be asked; callers whose keys are not known get 503 until it can be again: {error}"
                    );
                } else {
                    log::debug!("the key store still cannot be asked: {error}");
                }
            }
        }
    }

    /// Nobody waits for this call any more.
    pub(crate) fn given_up(&self, call: Call) {
        self.state().under_way.remove(&call.0);
    }

    /// Whether the store has left every call unanswered for too long.
    pub(crate) fn is_away(&self, now: Moment) -> bool {
        self.state().unanswered_for(now) > self.patience
    }

    /// Whether who asks now waits in vain, most likely: the store is silent, and somebody else is trying whether it still is. A connection
    /// that gives up for now, and is made anew, ends no silence: only an answer in time does.
    pub(crate) fn is_in_vain(&self, now: Moment) -> bool {
        let mut state = self.state();
        state.note_silence(self.patience, now);
        // Silence towards the feed alone may be that of its connection: look-ups find out.
        let is_tried = state.is_tried();
        let Some(silence) = &mut state.silence else {
            return false;
        };
        let in_vain = is_tried || now.since(silence.tried) < TRY_EVERY;
        if !in_vain {
            silence.tried = now;
        }
        in_vain
    }

    /// A request was let through by what was known before the store was away; the first one is logged, and all are counted.
    pub(crate) fn let_through(&self, now: Moment) {
        let mut state = self.state();
        state.outage.failed(now);
        state.let_through = state.let_through.saturating_add(1);
        let is_first = state.let_through == 1;
        drop(state);
        if is_first {
            log::warn!(
                "the key store does not answer in time: keys are let through as they were last known, as stale_if_error says"
            );
        }
    }

    /// Notes a store that leaves everything unanswered, which no call will say.
    pub(crate) fn check(&self, now: Moment) {
        let mut state = self.state();
        let silent_for = state.unanswered_for(now);
        if silent_for <= self.patience {
            return;
        }
        let is_first = state.outage.failed(now);
        drop(state);
        if is_first {
            log::error!(
                "the key store has not answered for {} ms; callers whose keys are not known get 503 until it does",
                silent_for.as_millis()
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// How long nothing has been answered although something was asked.
    fn unanswered_for(&self, now: Moment) -> Duration {
        let oldest = self.under_way.values().map(|&(_, since)| since).min();
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest.max(self.last_answer)))
    }

    fn is_tried(&self) -> bool {
        self.under_way.values().any(|(by, _)| *by == Asker::LookUp)
    }

    /// Silence that has not shown for as long as it took to be noticed may be over, and nobody has asked since.
    fn note_silence(&mut self, patience: Duration, now: Moment) {
        if self.unanswered_for(now) > patience {
            let silence = self.silence.get_or_insert(Silence { seen: now, tried: Moment::START });
            silence.seen = now;
        }
        self.silence.take_if(|silence| now.since(silence.seen) > patience);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of it 600 ms are the patience.
    const DEADLINE: Duration = Duration::from_millis(960);

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    // F1, F6
    #[test]
    fn a_store_is_away_once_every_call_has_been_unanswered_for_too_long() {
        let availability = Availability::new(DEADLINE);
        assert!(!availability.is_away(at(100_000)), "nobody asked");
        let first = availability.asked(Asker::LookUp, at(1000));
        assert!(!availability.is_away(at(1600)));
        assert!(availability.is_away(at(1601)));
        let second = availability.asked(Asker::LookUp, at(1500));
        availability.answered(second, None, at(1700));
        assert!(
            !availability.is_away(at(2300)),
            "one that hangs says nothing while others are answered"
        );
        assert!(availability.is_away(at(2301)));
        availability.given_up(first);
        assert!(!availability.is_away(at(100_000)));
    }

    // E7, F3
    #[test]
    fn a_store_that_is_silent_to_the_feed_alone_is_tried_by_one_look_up_at_a_time() {
        let availability = Availability::new(DEADLINE);
        let feed = availability.asked(Asker::Feed, at(1000));
        assert!(availability.is_away(at(1601)) && !availability.is_in_vain(at(1601)));
        let trial = availability.asked(Asker::LookUp, at(1601));
        assert!(availability.is_in_vain(at(1602)));
        availability.answered(trial, None, at(1603));
        assert!(!availability.is_away(at(2203)));
        assert!(availability.is_away(at(2204)) && !availability.is_in_vain(at(2204)));
        availability.given_up(feed);
    }

    // F1
    #[test]
    fn a_connection_that_gives_up_ends_no_silence_and_only_one_at_a_time_finds_out_whether_it_is_over()
     {
        let availability = Availability::new(DEADLINE);
        let first = availability.asked(Asker::LookUp, at(1000));
        assert!(availability.is_in_vain(at(1601)));
        availability.answered(first, Some(&StoreError::new("timed out")), at(2000));
        assert!(!availability.is_in_vain(at(2001)), "sent to try");
        assert!(availability.is_in_vain(at(2002)), "who tries is on the way");
        let trial = availability.asked(Asker::LookUp, at(2003));
        assert!(availability.is_in_vain(at(2100)));
        availability.answered(trial, None, at(2101));
        assert!(!availability.is_in_vain(at(2102)) && !availability.is_in_vain(at(2102)));
    }

    // F6
    #[test]
    fn an_answer_that_comes_too_late_ends_no_silence_and_one_in_time_does() {
        let availability = Availability::new(DEADLINE);
        let late = availability.asked(Asker::LookUp, at(1000));
        assert!(availability.is_in_vain(at(1601)));
        availability.answered(late, None, at(3000));
        assert!(!availability.is_in_vain(at(3001)), "sent to try");
        assert!(availability.is_in_vain(at(3002)));
        let slow = availability.asked(Asker::LookUp, at(3003));
        availability.answered(slow, None, at(3900));
        assert!(!availability.is_in_vain(at(3901)) && !availability.is_in_vain(at(3901)));
    }

    // F4
    #[test]
    fn a_silence_nobody_has_asked_since_holds_up_no_more_than_one_patience() {
        let availability = Availability::new(DEADLINE);
        let call = availability.asked(Asker::LookUp, at(1000));
        assert!(availability.is_in_vain(at(1700)));
        availability.answered(call, Some(&StoreError::new("timed out")), at(2000));
        assert!(!availability.is_in_vain(at(2601)) && !availability.is_in_vain(at(2602)));
    }

    // F5
    #[test]
    fn a_store_that_fails_and_says_so_is_not_silent() {
        let availability = Availability::new(DEADLINE);
        for millis in 1000..1100 {
            let call = availability.asked(Asker::LookUp, at(millis));
            availability.answered(call, Some(&StoreError::new("closed")), at(millis));
            assert!(!availability.is_in_vain(at(millis)));
        }
    }
}
