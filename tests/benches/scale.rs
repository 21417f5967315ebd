//! Compares checks against a table of a million keys with checks against a thousand keys:
//! `cargo bench -p api-key-tests --bench scale`.
//!
//! The checks run in this process, so the times do not include HTTP. Both sides use the same number
//! of keys.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{cell::RefCell, hint::black_box, iter, rc::Rc, time::Instant};

use actix_web::{
    HttpRequest,
    rt::{System, SystemRunner, spawn},
};
use api_key_runtime::AppKeys;

use self::support::{
    Database, Key, authenticate, figures, heading, make_keys, process, ratio, request,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

const SMALL: usize = 1_000;
const LARGE: usize = 1_000_000;
const WARM_ROUNDS: usize = 31;
const WARM_USES: usize = 20;
const COLD_ROUNDS: usize = 31;
const IN_FLIGHT: usize = 64;

fn main() {
    heading();
    let server = Database::server();
    let system = System::new();
    on(&system, || Database::postgres(&server));
    on(&system, Database::sqlite);
    println!("# load average {} at the end", figures::load_average());
}

fn on(system: &SystemRunner, empty: impl Fn() -> Database) {
    let tables = [Table::large(empty()), Table::small(empty())];
    let suffix = tables[0].database.suffix();
    warm(system, &format!("scale_warm_1m_over_1k_{suffix}"), &tables);
    cold(system, &format!("scale_cold_1m_over_1k_{suffix}"), &tables);
}

/// A table, and the keys that each round uses.
struct Table {
    database: Database,
    rounds: Vec<Vec<Key>>,
}

impl Table {
    /// A small table. Every round uses all of its keys.
    fn small(database: Database) -> Self {
        let rounds = vec![make_keys(SMALL)];
        database.insert(&rounds[0]);
        database.settle();
        Self { database, rounds }
    }

    /// A large table. Every round uses different keys, scattered over the table.
    fn large(database: Database) -> Self {
        let known = make_keys(SMALL * COLD_ROUNDS);
        database.insert_among(LARGE, &known);
        database.settle();
        let mut rounds: Vec<Vec<Key>> = iter::repeat_with(Vec::new).take(COLD_ROUNDS).collect();
        for (number, key) in known.into_iter().enumerate() {
            rounds[number % COLD_ROUNDS].push(key);
        }
        Self { database, rounds }
    }

    fn of_round(&self, round: usize) -> &[Key] {
        &self.rounds[round % self.rounds.len()]
    }
}

fn requests(keys: &AppKeys, of: &[Key]) -> Vec<HttpRequest> {
    of.iter().map(|key| request(keys, &key.secret)).collect()
}

/// Compares the processor time of repeated checks of cached keys, without database queries.
fn warm(system: &SystemRunner, name: &str, tables: &[Table; 2]) {
    let requests = tables.each_ref().map(|table| {
        let requests = requests(&table.database.keys(), table.of_round(0));
        system.block_on(use_all(&requests));
        requests
    });
    ratio(name, WARM_ROUNDS, |side, _| {
        let requests = &requests[side as usize];
        let use_often = async {
            for _ in 0..WARM_USES {
                use_all(requests).await;
            }
        };
        process::cpu_seconds_for(|| system.block_on(use_often))
    });
}

async fn use_all(requests: &[HttpRequest]) {
    for request in requests {
        assert_eq!(black_box(authenticate(request).await), Ok(()));
    }
}

/// Compares the first uses of many keys at once after a service has started.
fn cold(system: &SystemRunner, name: &str, tables: &[Table; 2]) {
    ratio(name, COLD_ROUNDS, |side, round| {
        let table = &tables[side as usize];
        let keys = table.database.keys();
        let requests = Rc::new(RefCell::new(requests(&keys, table.of_round(round))));
        let began = Instant::now();
        system.block_on(async {
            let users: Vec<_> =
                (0..IN_FLIGHT).map(|_| spawn(use_up(Rc::clone(&requests)))).collect();
            for user in users {
                user.await.unwrap();
            }
        });
        began.elapsed().as_secs_f64()
    });
}

async fn use_up(requests: Rc<RefCell<Vec<HttpRequest>>>) {
    loop {
        let Some(request) = requests.borrow_mut().pop() else {
            return;
        };
        assert_eq!(authenticate(&request).await, Ok(()));
    }
}
