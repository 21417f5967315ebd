//! The faults of a run, in servers, database connections and the database.

mod database;
mod servers;

use std::{sync::Mutex, time::Duration};

pub(super) use self::{
    database::{FILLERS, break_database},
    servers::break_servers,
};
use super::{event::What, recorder::Recorder};
use crate::support::random::Random;

/// A source of faults, which causes and repairs one fault after another.
pub(super) struct Breaker<'a> {
    recorder: &'a Recorder,
    random: Random,
    /// Held by a thread that breaks the database or needs a working database.
    database: &'a Mutex<()>,
}

impl<'a> Breaker<'a> {
    pub(super) fn new(recorder: &'a Recorder, random: Random, database: &'a Mutex<()>) -> Self {
        Self { recorder, random, database }
    }

    fn milliseconds(&mut self, least: usize, most: usize) -> Duration {
        let number = least + self.random.below(most - least);
        Duration::from_millis(u64::try_from(number).unwrap())
    }

    /// Causes and repairs a fault, and records the fault with its duration.
    fn fault(&self, fault: impl Into<String>, break_and_mend: impl FnOnce()) {
        let began = self.recorder.now();
        break_and_mend();
        let fault = fault.into();
        self.recorder.ended(began, What::Fault { fault });
    }

    /// Returns a random element of `all`. Every element comes once before an element is repeated,
    /// so that even a short run has many different faults.
    fn deal<T: Copy>(&mut self, deck: &mut Vec<T>, all: &[T]) -> T {
        if deck.is_empty() {
            deck.extend_from_slice(all);
        }
        deck.swap_remove(self.random.below(deck.len()))
    }
}
