//! What the feed costs while nothing happens: `cargo bench -p api-key-tests --bench idle`.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    thread,
    time::{Duration, Instant},
};

use self::support::{
    Database, Postgres, figure,
    figures::{self, Progress},
    heading,
    process::{self, Thread},
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

const SECONDS: u16 = 20;
/// Until what happens at the start is over.
const SETTLING: Duration = Duration::from_secs(2);

fn main() {
    heading();
    let server = Postgres::start();
    let databases = [Database::postgres(&server), Database::sqlite()];
    let mut kept = Vec::new();
    let mut threads: Vec<Vec<Thread>> = Vec::new();
    for database in &databases {
        let before = ours();
        kept.push(database.keys());
        thread::sleep(SETTLING);
        let mut started = ours();
        started.retain(|thread| !before.contains(thread));
        threads.push(started);
    }
    let used = || -> Vec<f64> {
        threads
            .iter()
            .map(|threads| process::cpu_seconds(threads))
            .collect()
    };
    let before = used();
    let began = Instant::now();
    let mut progress = Progress::new("idle seconds", SECONDS.into());
    for _ in 0..SECONDS {
        thread::sleep(Duration::from_secs(1));
        progress.step();
    }
    drop(progress);
    let seconds = began.elapsed().as_secs_f64();
    for (index, database) in databases.iter().enumerate() {
        let percent = 100.0 * (used()[index] - before[index]) / seconds;
        figure(
            &format!("feed_idle_cpu_percent_{}", database.suffix()),
            percent,
            "%",
        );
        println!(
            "#   of one core, over {seconds:.0} s, all {} threads of the library",
            threads[index].len()
        );
    }
    println!("# load average {} at the end", figures::load_average());
}

/// Every thread that the library started.
fn ours() -> Vec<Thread> {
    Thread::named(|name| name.starts_with("app-key"))
}
