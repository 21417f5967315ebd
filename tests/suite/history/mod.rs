//! Histories of several servers that share a database, and a checker that finds wrong responses
//! (E2).
//!
//! A run starts servers as separate processes, presents keys to them from many clients, and changes
//! those keys through the administration and by SQL. It also pauses and kills servers, sets their
//! clocks wrong, and breaks their database connections and the database. Every request and change
//! is recorded with its start and end time, all read from one clock. The checker then searches for
//! keys that a server wrongly accepted or rejected. Runs with deliberately faulty servers prove
//! that the checker finds errors.
//!
//! | variable | |
//! | --- | --- |
//! | `TEST_HISTORY_MINUTES` | duration of a run in minutes (default: 0.2) |
//! | `TEST_HISTORY_SEED` | repeats the choices of a run, but not its timing |

mod checker;
mod client;
mod clock;
mod event;
mod faults;
mod operator;
mod place;
mod pool;
mod recorder;
mod row;
mod run;
mod seat;
mod server;
mod sql;
mod stores;

use std::{
    env,
    time::{Duration, SystemTime},
};

use self::{checker::Rule, place::Place, run::Plan, seat::Kind, server::Store};
use crate::support::{Database, database_test};

const SHORT: Duration = Duration::from_secs(12);
const VERY_SHORT: Duration = Duration::from_secs(5);
/// One hour in seconds.
const HOUR: i64 = 3600;

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    Some(text.parse().ok().expect("a number"))
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    number("TEST_HISTORY_SEED").unwrap_or_else(|| now().unwrap().as_secs())
}

fn kind(name: &'static str, store: Store, max_staleness_ms: u64, stale_if_error_ms: u64) -> Kind {
    Kind {
        clock_ahead: None,
        name,
        store,
        max_staleness: Duration::from_millis(max_staleness_ms),
        stale_if_error: Duration::from_millis(stale_if_error_ms),
    }
}

fn run_under_faults(place: Place) {
    let length = number("TEST_HISTORY_MINUTES")
        .map_or(SHORT, |minutes: f64| Duration::from_secs_f64(minutes * 60.0));
    let plan = Plan {
        place,
        servers: vec![
            kind("plain", Store::Own, 300, 0),
            Kind { clock_ahead: Some(-HOUR), ..kind("lenient", Store::Own, 300, 500) },
            Kind { clock_ahead: Some(HOUR), ..kind("slow", Store::Slow, 300, 0) },
        ],
        length,
        with_faults: true,
        enough: |counts| {
            counts.accepted > 300
                && counts.refused > 200
                && counts.changes > 40
                && counts.faults > 5
        },
        // A feed thread counts as hung after at most 32 seconds, and is then replaced.
        recovery: Duration::from_secs(120),
        seed: seed(),
    };
    let finished = plan.run();
    println!("seed {}: {}", finished.seed, finished.verdict);
    finished.assert_good();
    let seen = finished.verdict.seen;
    assert!(
        seen.accepted > 300 && seen.refused > 200 && seen.changes > 40 && seen.faults > 5,
        "too little happened to show anything"
    );
    finished.remove();
}

// E2
mod whatever_breaks_no_server_accepts_what_was_revoked_or_refuses_what_is_good {
    use super::*;

    #[test]
    fn postgres() {
        run_under_faults(Place::postgres());
    }

    #[test]
    fn sqlite() {
        run_under_faults(Place::sqlite());
    }
}

/// Checks that the checker finds a violation of this rule by servers with this store. The runs are
/// short and without faults. One run may miss the violation, so up to 10 runs are tried.
fn assert_caught(database: Database, name: &'static str, store: Store, rule: Rule) {
    const RUNS: u64 = 10;
    let mut place = Place::shared(database);
    for number in 1..=RUNS {
        let plan = Plan {
            place,
            servers: vec![kind(name, store, 300, 0), kind(name, store, 300, 0)],
            length: VERY_SHORT,
            enough: |_| true,
            with_faults: false,
            recovery: Duration::ZERO,
            seed: seed() + number,
        };
        let finished = plan.run();
        println!("seed {}: {}", finished.seed, finished.verdict);
        if number == RUNS {
            finished.assert_breaks(rule);
        }
        let is_caught = finished.verdict.count.contains_key(&rule);
        place = finished.remove();
        if is_caught {
            return;
        }
    }
}

// E2
database_test!(a_server_that_hears_of_no_change_is_caught, |database: Database| {
    assert_caught(database, "deaf", Store::Deaf, Rule::NoneTooLate);
});

// E2
database_test!(a_server_that_reads_a_stale_copy_is_caught, |database: Database| {
    assert_caught(database, "lagging", Store::Lagging, Rule::NoneTooLate);
});
