//! Measures the change feed while nothing happens: `cargo bench -p api-key-tests --bench idle`.
//!
//! Reports the processor time of all threads of the library, in percent of one core. In an idle
//! service, only the threads of the change feed do work.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    iter, thread,
    time::{Duration, Instant},
};

use api_key_runtime::AppKeys;

use self::support::{
    Database, figure,
    figures::{self, Progress},
    heading,
    process::Thread,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

const SECONDS: u16 = 20;
/// Time until the work at startup is done.
const SETTLING: Duration = Duration::from_secs(2);

/// A service without requests, and the threads that the library started for it.
struct Service {
    database: Database,
    _keys: AppKeys,
    threads: Vec<Thread>,
}

impl Service {
    fn start(database: Database) -> Self {
        let ours = || Thread::named(|name| name.starts_with("app-key"));
        let before = ours();
        let keys = database.keys();
        thread::sleep(SETTLING);
        let mut threads = ours();
        threads.retain(|thread| !before.contains(thread));
        Self { database, _keys: keys, threads }
    }

    /// Returns the processor time of each thread so far.
    fn cpu_seconds(&self) -> Vec<f64> {
        self.threads.iter().map(Thread::cpu_seconds).collect()
    }

    /// Prints the share of one core that each thread used since `before`, and the total.
    fn report(&self, before: &[f64], seconds: f64) {
        let percents: Vec<f64> = iter::zip(self.cpu_seconds(), before)
            .map(|(now, before)| 100.0 * (now - before) / seconds)
            .collect();
        let suffix = self.database.suffix();
        let all = percents.iter().sum();
        figure(&format!("feed_idle_cpu_percent_{suffix}"), all, "%");
        for (thread, percent) in iter::zip(&self.threads, percents) {
            println!("#   {} {percent:.3} %", thread.name());
        }
    }
}

fn main() {
    heading();
    let server = Database::server();
    let services = [Database::postgres(&server), Database::sqlite()].map(Service::start);
    let before = services.each_ref().map(Service::cpu_seconds);
    let began = Instant::now();
    let mut progress = Progress::new("idle seconds", SECONDS.into());
    for _ in 0..SECONDS {
        thread::sleep(Duration::from_secs(1));
        progress.step();
    }
    drop(progress);
    let seconds = began.elapsed().as_secs_f64();
    for (service, before) in iter::zip(&services, before) {
        service.report(&before, seconds);
    }
    println!("# load average {} at the end", figures::load_average());
}
