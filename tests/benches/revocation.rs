//! Measures how long a revoked key still works in another process:
//! `cargo bench -p api-key-tests --bench revocation`.
//!
//! A service runs in a separate process, and a client uses a key without a pause. This process
//! revokes the key, by the API or by plain SQL. The result is the time from the end of the
//! revocation call to the first rejection that the client reads. The result is zero if the
//! rejection came first.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    collections::HashMap,
    env,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use actix_web::get;
use api_key_runtime::{AppKeys, admin::ListKeys, require_app_key};

use self::support::{
    Client, Database, Key, Server, figure,
    figures::{self, Progress, quantile},
    heading, load, make_keys, plot,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

/// Passes the database URL to the serving process.
const SERVE: &str = "BENCH_SERVES";
const REVOCATIONS: usize = 250;
/// The minimum number of uses of a key before its revocation, and the number of uses after its
/// rejection.
const USES: usize = 20;
/// Time after which the benchmark fails if the revoked key is still accepted.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(10);

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> &'static str {
    "An order for seventeen cakes.\n"
}

fn main() {
    if let Ok(database_url) = env::var(SERVE) {
        return serve(&database_url);
    }
    heading();
    let server = Database::server();
    let mut series = Vec::new();
    for (database, label) in
        [(Database::postgres(&server), "Postgres"), (Database::sqlite(), "SQLite")]
    {
        for (way, times) in on(&database) {
            series.push((format!("{label}, {way}"), times));
        }
    }
    let series: Vec<_> =
        series.iter().map(|(label, times)| (label.as_str(), times.as_slice())).collect();
    let title = "Time from a revocation to the first rejection in another process";
    plot::distribution("revocation", title, &series);
    println!("# load average {} at the end", figures::load_average());
}

/// Returns the sorted times for each method of revocation.
fn on(database: &Database) -> [(&'static str, Vec<f64>); 2] {
    let keys = make_keys(2 * REVOCATIONS);
    database.insert(&keys);
    database.settle();
    let service = Service::start(database.url());
    let admin = database.builder().build_admin().unwrap();
    let ids: HashMap<_, _> = admin
        .list(&ListKeys::new())
        .unwrap()
        .iter()
        .map(|record| (record.digest, record.id))
        .collect();
    let mut connection = database.connect();
    let (first, second) = keys.split_at(REVOCATIONS);
    let suffix = database.suffix();
    let api = measure(&format!("{suffix}_api"), &service, first, |key| {
        admin.revoke(ids[&key.digest]).unwrap();
    });
    let sql = measure(&format!("{suffix}_sql"), &service, second, |key| {
        connection.revoke(ids[&key.digest]);
    });
    [("by the API", api), ("by SQL", sql)]
}

fn measure(way: &str, service: &Service, keys: &[Key], mut revoke: impl FnMut(&Key)) -> Vec<f64> {
    let mut client = Client::connect(service.address);
    let mut progress = Progress::new(&format!("revocations, {way}"), keys.len());
    let mut times: Vec<f64> = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        // Varies the pause, so that revocations hit every phase of the service's periodic work.
        let pause = Duration::from_micros(number as u64 * 7919 % 25_000);
        times.push(milliseconds(&mut client, key, pause, || revoke(key)));
        progress.step();
    }
    drop(progress);
    times.sort_by(f64::total_cmp);
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        figure(&format!("revocation_ms_{way}_{name}"), quantile(&times, part), "ms");
    }
    println!("#   {} revocations", times.len());
    times
}

fn milliseconds(client: &mut Client, key: &Key, pause: Duration, revoke: impl FnOnce()) -> f64 {
    let accepted = AtomicUsize::new(0);
    thread::scope(|scope| {
        let refused =
            scope.spawn(|| until_refused(client, &load::get("/guarded", &key.secret), &accepted));
        while accepted.load(Ordering::Relaxed) < USES && !refused.is_finished() {
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(pause);
        revoke();
        let returned = Instant::now();
        let refused = refused.join().unwrap();
        refused.saturating_duration_since(returned).as_secs_f64() * 1e3
    })
}

/// Uses a key without a pause and returns the time of its first rejection. Every later use must be
/// rejected as well.
fn until_refused(client: &mut Client, request: &[u8], accepted: &AtomicUsize) -> Instant {
    let began = Instant::now();
    while client.status(request) == 200 {
        accepted.fetch_add(1, Ordering::Relaxed);
        assert!(
            began.elapsed() < REVOCATION_TIMEOUT,
            "a revoked key is still accepted after {REVOCATION_TIMEOUT:?}"
        );
    }
    let refused = Instant::now();
    assert!(accepted.load(Ordering::Relaxed) >= USES, "a valid key was rejected");
    for _ in 0..USES {
        assert_eq!(client.status(request), 401);
    }
    refused
}

/// The serving process.
struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    fn start(database_url: &str) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .env(SERVE, database_url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().expect("the service starts");
        Self { process, address }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves until the parent process closes the pipe or kills this process.
fn serve(database_url: &str) {
    let keys = AppKeys::builder().database_url(database_url).build().unwrap();
    let server = Server::start(move |config| {
        config.app_data(keys.clone()).service(guarded);
    });
    println!("{}", server.address);
    let _ = io::stdin().lines().count();
}
