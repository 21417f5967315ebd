//! Compares a guarded route over real HTTP with an unguarded route, and with a route that checks
//! keys by hand-written code: `cargo bench -p api-key-tests --bench http`.
//!
//! The server has one worker and keep-alive connections over loopback. All routes are in one
//! application and are measured in turn. Two servers register the routes in opposite orders.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{fmt, iter, thread, time::Duration};

use actix_web::{HttpRequest, HttpResponse, get, web};
use api_key_runtime::{AppKeys, require_app_key};

use self::support::{
    Database, Key, Load, Postgres, Server, Watched, check, figure,
    figures::{self, Progress, Side},
    heading, load, make_keys, plot,
    process::{self, Thread},
    ratio,
};

mod rival;
#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

const IN_FLIGHT: usize = 64;
const HOT: usize = 100;
/// A multiple of four, so that each side goes first equally often on each server.
const ROUNDS: usize = 16;
const WINDOW: Duration = Duration::from_millis(300);
/// Number of keys that one round uses for the first time.
const COLD: usize = 10_000;
const COLD_ROUNDS: usize = 7;
/// Number of requests that are sent at once with one new key.
const STORM: usize = 1000;
const STORM_ROUNDS: usize = 10;
const SLOW: Duration = Duration::from_millis(200);

const BODY: &str = "An order for seventeen cakes.\n";

#[get("/bare")]
async fn bare() -> &'static str {
    BODY
}

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> &'static str {
    BODY
}

#[get("/handwritten")]
async fn handwritten(caller: rival::Caller) -> &'static str {
    assert!(caller.id > 0);
    BODY
}

/// Checks a key in the cheapest way, and sets the same two headers as the guarded route.
#[get("/limit")]
async fn limit(request: HttpRequest) -> HttpResponse {
    check::limit(&request, BODY)
}

/// Two servers with the same keys and routes. The router tries routes in the order of registration,
/// so the servers register the routes in opposite orders. The rounds alternate between the servers.
struct Servers {
    _servers: [Server; 2],
    loads: [Load; 2],
}

impl Servers {
    fn start(keys: &AppKeys, rival: rival::Keys) -> Self {
        let rival = web::Data::new(rival);
        let servers = [true, false].map(|guarded_first| {
            let (keys, rival) = (keys.clone(), rival.clone());
            Server::start(move |config| {
                config.app_data(keys.clone()).app_data(rival.clone());
                if guarded_first {
                    config.service(guarded).service(limit).service(bare).service(handwritten);
                } else {
                    config.service(handwritten).service(bare).service(limit).service(guarded);
                }
            })
        });
        let loads = servers.each_ref().map(|server| Load::connect(server.address, IN_FLIGHT));
        Self { _servers: servers, loads }
    }

    /// Returns the load of a round. The side that goes first alternates with each round, so the
    /// server alternates with each pair of rounds.
    fn load(&mut self, round: usize) -> &mut Load {
        &mut self.loads[round / 2 % 2]
    }
}

fn requests(path: &str, keys: &[Key]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| load::get(path, &key.secret)).collect()
}

fn main() {
    heading();
    let server = Database::server();
    let mut routes = on_postgres(&server);
    routes.push(("by hand, SQLite", on_sqlite()));
    let title = "Requests per second of one worker, with cached keys";
    plot::bars("throughput", title, "requests per second", &routes);
    storm(&server);
    println!("# load average {} at the end", figures::load_average());
}

fn on_postgres(server: &Postgres) -> Vec<(&'static str, f64)> {
    let database = Database::postgres(server);
    let (mut servers, hot, cold) = serve(&database);
    let [with, without] = warm(&mut servers, "warm_route_over_bare", "/bare", &hot);
    warm(&mut servers, "warm_route_over_limit", "/limit", &hot);
    let [_, by_hand] = warm(&mut servers, "warm_over_handwritten_pg", "/handwritten", &hot);
    cold_against(&mut servers, "cold_over_handwritten_pg", &cold);
    vec![("without a check", without), ("#[require_app_key]", with), ("by hand, Postgres", by_hand)]
}

fn on_sqlite() -> f64 {
    let database = Database::sqlite();
    let (mut servers, hot, cold) = serve(&database);
    let [_, by_hand] = warm(&mut servers, "warm_over_handwritten_sqlite", "/handwritten", &hot);
    cold_against(&mut servers, "cold_over_handwritten_sqlite", &cold);
    by_hand
}

/// Starts servers of this database. Returns the servers, keys to cache, and keys to use once.
fn serve(database: &Database) -> (Servers, Vec<Key>, Vec<Key>) {
    let hot = make_keys(HOT);
    let cold = make_keys(COLD * COLD_ROUNDS);
    database.insert(&hot);
    database.insert(&cold);
    database.settle();
    (Servers::start(&database.keys(), rival::Keys::connect(database.url())), hot, cold)
}

/// Compares the throughput of the guarded route with that of another route, for the same cached
/// keys.
fn warm(servers: &mut Servers, name: &str, other: &str, hot: &[Key]) -> [f64; 2] {
    let requests = [requests("/guarded", hot), requests(other, hot)];
    // Warms up: afterwards each key is cached, and all connections and threads exist.
    for requests in &requests {
        for load in &mut servers.loads {
            load.run_for(WINDOW, requests);
        }
    }
    measure(name, ROUNDS, |side, round| {
        servers.load(round).run_for(WINDOW, &requests[side as usize])
    })
}

/// Compares first uses of keys. Both routes get the same keys, because the hand-written code does
/// not cache a key.
fn cold_against(servers: &mut Servers, name: &str, cold: &[Key]) {
    let requests = [requests("/guarded", cold), requests("/handwritten", cold)];
    // Uses only one server, because during a long round the other server would close its idle
    // connections.
    let [load, _] = &mut servers.loads;
    measure(name, COLD_ROUNDS, |side, round| {
        let mut requests = requests[side as usize][round * COLD..][..COLD].iter();
        load.run(|| requests.next().map(Vec::as_slice))
    });
}

fn measure(name: &str, rounds: usize, mut run: impl FnMut(Side, usize) -> load::Run) -> [f64; 2] {
    let mut shares = [Share::default(), Share::default()];
    ratio(name, rounds, |side, round| {
        let run = shares[side as usize].of(|| run(side, round));
        run.per_second()
    });
    let [one, other] = shares;
    println!("#   {one}, against {other}");
    [one.per_second(), other.per_second()]
}

/// Sends the first requests with a new key over many connections at once, and reports the largest
/// number of queries that any key caused.
fn storm(server: &Postgres) {
    let database = Database::postgres(server);
    let keys = make_keys(2 * STORM_ROUNDS);
    database.insert(&keys);
    database.settle();
    process::allow_open_files(4 * STORM);
    let mut most = 0;
    let mut progress = Progress::new("cold_storm_queries", keys.len());
    let (first, second) = keys.split_at(STORM_ROUNDS);
    // The first pass uses the database at its normal speed. The second pass delays each query, so
    // that all requests arrive before the query ends.
    for (delay, keys) in [(Duration::ZERO, first), (SLOW, second)] {
        let store = Watched::open(database.url()).delayed(delay);
        let guards = AppKeys::builder().store(store.clone()).build().unwrap();
        // The first report of the change feed says that everything may have changed. Lookups that
        // start before this report are repeated, and would be counted.
        while !guards.health().is_ready() {
            thread::sleep(Duration::from_millis(5));
        }
        let server = Server::start(move |config| {
            config.app_data(guards.clone()).service(bare).service(guarded);
        });
        let mut load = Load::connect(server.address, STORM);
        let mut run = |path, key| {
            let request = load::get(path, key);
            let mut requests = iter::repeat_n(request.as_slice(), STORM);
            load.run(|| requests.next())
        };
        run("/bare", "");
        for key in keys {
            store.watch([key.digest]);
            assert_eq!(run("/guarded", &key.secret).answers, STORM);
            most = most.max(store.queries());
            progress.step();
        }
    }
    drop(progress);
    figure("cold_storm_queries", most as f64, "queries");
}

/// The processor time of the server's worker and of the load's thread. The busier of the two limits
/// the throughput.
#[derive(Default)]
struct Share {
    worker: f64,
    load: f64,
    seconds: f64,
    answers: usize,
}

impl Share {
    fn of(&mut self, run: impl FnOnce() -> load::Run) -> load::Run {
        let (workers, myself) = (Server::workers(), Thread::current());
        let worker = process::cpu_seconds(&workers);
        let load = process::cpu_seconds(&myself);
        let run = run();
        self.worker += process::cpu_seconds(&workers) - worker;
        self.load += process::cpu_seconds(&myself) - load;
        self.seconds += run.seconds;
        self.answers += run.answers;
        run
    }

    fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64| 100.0 * part / self.seconds;
        write!(
            formatter,
            "{:.0} a second (worker {:.0} % busy, load {:.0} %)",
            self.per_second(),
            percent(self.worker),
            percent(self.load)
        )
    }
}
