//! A database that answers late or not at all: cached keys are used as long as allowed, and
//! requests do not wait for the database longer than necessary.

use std::{
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use super::routes;
use crate::{
    examples::Example,
    support::{
        Database, MAX_STALENESS, OwnServer, Proxy, Server, fixtures, http,
        load::{Sample, Stopping, assert_prompt, steady, with_key},
        wait_until,
    },
};

/// For how long the lenient service accepts stale entries during an outage.
const STALE_IF_ERROR: Duration = Duration::from_secs(5);
/// The default lookup timeout.
const DEADLINE: Duration = Duration::from_secs(1);
/// Duration of the outage.
const OUTAGE: Duration = Duration::from_secs(10);
/// The first success should come within a second of recovery. A busy machine may take longer, but
/// not as long as a service that waits before it retries.
const RECOVERY: Duration = Duration::from_secs(5);
/// Maximum time of a response on a busy machine if requests do not wait for the database.
const ANSWERED: Duration = Duration::from_secs(15);

/// The responses before, during and after an outage.
struct Seen {
    /// The outage began before this time.
    away: Instant,
    /// The outage ended after this time.
    back: Instant,
    health: Vec<Sample>,
    strict: Vec<Sample>,
    lenient: Vec<Sample>,
    unknown: Vec<Sample>,
}

/// Sends requests at a steady rate to two services on one database before, during and after an
/// outage. Each service has one worker. The strict service has default settings, and the lenient
/// service sets `stale_if_error`.
fn observe(
    database: &Database,
    url: &str,
    begin: impl Fn(),
    outage: Duration,
    end: impl Fn(),
) -> Seen {
    let (key, _) = database.issue("0.0.0.0");
    let builder = || api_key_runtime::AppKeys::builder().database_url(url);
    let strict = Server::start(builder().build().unwrap(), routes);
    let lenient = builder().stale_if_error(STALE_IF_ERROR).build().unwrap();
    let lenient = Server::start(lenient, routes);
    let all_pass = || {
        let pass = |server: &Server| http::get_with(server.address, "/guarded", &key).status == 200;
        pass(&strict) && pass(&lenient)
    };
    wait_until("both services accept the key", all_pass);
    let stop = AtomicBool::new(false);
    let often = Duration::from_millis(30);
    thread::scope(|scope| {
        let health = scope.spawn(|| {
            let head = || http::head("GET", "/health", &[]);
            steady(strict.address, often, &stop, head)
        });
        let known = [&strict, &lenient].map(|service| {
            scope.spawn(|| steady(service.address, often, &stop, || with_key(&key)))
        });
        let unknown = scope.spawn(|| {
            let head = || with_key(&fixtures::unknown());
            steady(strict.address, often * 4, &stop, head)
        });
        let stopping = Stopping(&stop);
        thread::sleep(Duration::from_secs(1));
        wait_until("both services accept the key", all_pass);
        begin();
        let away = Instant::now();
        thread::sleep(outage);
        let back = Instant::now();
        end();
        wait_until("both services recover", all_pass);
        thread::sleep(Duration::from_millis(500));
        drop(stopping);
        let [strict, lenient] = known.map(|samples| samples.join().unwrap());
        Seen {
            away,
            back,
            health: health.join().unwrap(),
            strict,
            lenient,
            unknown: unknown.join().unwrap(),
        }
    })
}

impl Seen {
    fn assert_the_outage_rule(&self, what: &str) {
        let lenient = format!("{what}, stale_if_error");
        let passed_for = self.assert_known(&lenient, &self.lenient, STALE_IF_ERROR);
        assert!(
            passed_for > MAX_STALENESS,
            "{lenient}: stale entries were accepted only for {passed_for:?}"
        );
        self.assert_prompt(&format!("{what}, known key"), &self.strict);
        self.assert_prompt(&format!("{lenient}, known key"), &self.lenient);
        self.assert_no_more_than_the_default(what);
        for sample in self.during(&self.unknown) {
            assert_eq!(sample.status, 503, "{what}: an unknown key: {sample:?}");
        }
    }

    fn assert_no_more_than_the_default(&self, what: &str) {
        self.assert_known(what, &self.strict, MAX_STALENESS);
        let refused = |sample: &Sample| matches!(sample.status, 401 | 503);
        assert!(self.unknown.iter().all(refused), "{what}: an unknown key");
        let unavailable = self.during(&self.unknown).filter(|sample| sample.status == 503);
        assert!(unavailable.count() > 0, "{what}: no unknown key is 503");
        assert!(self.health.iter().all(|sample| sample.status == 200));
        self.assert_prompt(&format!("{what}, /health"), &self.health);
        self.assert_answered(&format!("{what}, known key"), &self.strict);
        self.assert_answered(&format!("{what}, an unknown key"), &self.unknown);
    }

    /// Checks that most requests do not wait for the deadline. Only a request that probes the
    /// database waits.
    fn assert_prompt(&self, what: &str, samples: &[Sample]) {
        self.assert_answered(what, samples);
        let outdated = self.away + MAX_STALENESS;
        let during = self.during(samples).filter(|sample| sample.sent > outdated);
        assert_prompt(what, during, DEADLINE * 3 / 4);
    }

    /// Checks that requests from the first half of the outage got a response before its end. A
    /// worker that waited for the database would delay these responses.
    fn assert_answered(&self, what: &str, samples: &[Sample]) {
        let last = samples
            .iter()
            .filter(|sample| sample.sent < self.away + (self.back - self.away) / 2)
            .max_by_key(|sample| sample.answered)
            .expect("a request during the outage");
        assert!(last.answered < self.back, "{what} waited: {last:?}");
    }

    /// Returns the requests with a response during the outage. Excludes requests that still waited
    /// at the end of the outage, because the database may have answered them.
    fn during<'a>(&'a self, samples: &'a [Sample]) -> impl Iterator<Item = &'a Sample> + Clone {
        samples.iter().filter(|sample| self.away <= sample.sent && sample.answered < self.back)
    }

    /// Checks that a cached key is accepted up to the bound, then rejected until the database is
    /// available, and accepted soon after. Returns for how long the key was accepted.
    fn assert_known(&self, what: &str, samples: &[Sample], bound: Duration) -> Duration {
        let passed = |sample: &&Sample| sample.status == 200;
        let refused = |sample: &&Sample| sample.status == 503;
        let before = samples.iter().filter(|sample| sample.answered < self.away);
        assert!(before.clone().filter(passed).count() > 0, "{what}: before the outage");
        let during = self.during(samples);
        assert!(during.clone().all(|sample| matches!(sample.status, 200 | 503)));
        let last = during.clone().filter(passed).map(|sample| sample.sent);
        let passed_for = last.max().map_or(Duration::ZERO, |last| last - self.away);
        let first_refused = during
            .filter(refused)
            .map(|sample| sample.answered)
            .min()
            .expect("the outage is longer than the bound")
            - self.away;
        let after = samples.iter().filter(|sample| sample.sent >= self.back);
        let first = after.filter(passed).map(|sample| sample.answered).min();
        let recovered = first.expect("the service recovers") - self.back;
        println!(
            "{what}: cached key accepted for {passed_for:?}, rejected from {first_refused:?}, accepted again after {recovered:?}"
        );
        // No tolerance is needed: one clock measured both times, and the entry was read before the
        // outage.
        assert!(passed_for <= bound, "{what}: accepted for {passed_for:?}");
        assert!(passed_for <= first_refused, "{what}: rejected and accepted again");
        assert!(recovered < RECOVERY, "{what}: {recovered:?}");
        passed_for
    }
}

// F1, F2, F3, F4
// Cached keys are accepted for as long as allowed.
#[test]
fn a_frozen_postgres_blocks_no_worker() {
    let server = OwnServer::start();
    let database = server.database();
    let url = database.migrate().url();
    let seen = observe(&database, url, || server.freeze(), OUTAGE, || server.thaw());
    seen.assert_the_outage_rule("frozen Postgres");
}

// F1, F3, F4
#[test]
fn cached_keys_work_for_a_time_without_postgres() {
    let database = Database::postgres();
    let proxy = Proxy::start(database.migrate().server());
    let url = database.url_at(proxy.address);
    let seen = observe(&database, &url, || proxy.cut(), OUTAGE, || proxy.pass());
    seen.assert_the_outage_rule("unavailable Postgres");
}

// F1, F2, F6
#[test]
fn a_slow_postgres_is_awaited_until_the_deadline() {
    let database = Database::postgres();
    let proxy = Proxy::start(database.migrate().server());
    let url = database.url_at(proxy.address);
    let late = || proxy.delay_answers(Duration::from_secs(2));
    let seen = observe(&database, &url, late, Duration::from_secs(6), || {
        proxy.pass();
    });
    seen.assert_no_more_than_the_default("Postgres that is 2 s late");
}

// F6
#[test]
fn a_slow_postgres_sheds_load_within_the_deadline() {
    const CLIENTS: usize = 400;
    let database = Database::postgres();
    let (key, _) = database.issue("0.0.0.0");
    let proxy = Proxy::start(database.server());
    let keys = api_key_runtime::AppKeys::builder()
        .database_url(database.url_at(proxy.address))
        .build()
        .unwrap();
    let service = Server::start(keys, routes);
    proxy.delay_answers(Duration::from_secs(2));
    let mut clients: Vec<http::Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = http::Client::connect(service.address);
            client.send(with_key(&fixtures::unknown()));
            client
        })
        .collect();
    let sent = Instant::now();
    let statuses: Vec<u16> =
        clients.iter_mut().map(|client| client.read(false).unwrap().status).collect();
    let took = sent.elapsed();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    println!(
        "{CLIENTS} keys at once, Postgres 2 s late: {refused} times 503, the last after {took:?}"
    );
    // On a busy machine, the database may answer before the service handles a timeout. Such a
    // request gets 401 instead of 503.
    assert!(statuses.iter().all(|status| matches!(status, 401 | 503)));
    assert!(refused > CLIENTS / 10, "{refused}");
    assert!(took < ANSWERED, "{took:?}");
    proxy.pass();
    let back = Instant::now();
    wait_until("it recovers", || http::get_with(service.address, "/guarded", &key).status == 200);
    let took = back.elapsed();
    println!("first success after {took:?}");
    assert!(took < ANSWERED, "{took:?}");
}

// F2, F3
#[test]
fn an_outage_is_logged_once_and_adds_no_threads() {
    /// The number of lookup threads and feeds that may be abandoned.
    const ABANDONED: usize = 8 + 4;
    let server = OwnServer::start();
    let database = server.database();
    let (key, _) = database.issue("0.0.0.0");
    let cakes = Example::cakes(&database);
    let address = cakes.address();
    let ask = |key: &str| http::get_with(address, "/version", key).status;
    for _ in 0..20 {
        wait_until("the key is accepted", || ask(&key) == 200);
    }
    let base = cakes.threads();
    server.freeze();
    // On a busy machine, an earlier outage may have begun and ended already.
    let before = outages(&cakes);
    let frozen = Instant::now();
    let mut most = base;
    while frozen.elapsed() < Duration::from_secs(8) {
        assert!(matches!(ask(&fixtures::unknown()), 503));
        most = most.max(cakes.threads());
        thread::sleep(Duration::from_millis(10));
    }
    let begun = outages(&cakes);
    server.thaw();
    wait_until("the service answers again", || ask(&fixtures::unknown()) == 401);
    // An outage is over after a second without a failure.
    wait_until("the threads end and the log says that the outage is over", || {
        let _ = ask(&key);
        cakes.threads() <= base && outages(&cakes).last() == Some(&OVER)
    });
    println!("threads: {base} before, at most {most} while frozen, {} after", cakes.threads());
    assert!(most <= base + ABANDONED, "{most} threads, {base} before");
    assert!(begun.len() <= before.len() + 1, "{before:?}, {begun:?}");
    assert_eq!(begun.last(), Some(&BEGUN));
    let all = outages(&cakes);
    assert!(all.iter().step_by(2).all(|line| *line == BEGUN), "{all:?}");
    assert!(all.iter().skip(1).step_by(2).all(|line| *line == OVER));
}

const BEGUN: &str = "begun";
const OVER: &str = "over";

/// Returns the start and the end of each logged outage, in order.
fn outages(cakes: &Example) -> Vec<&'static str> {
    let logged = cakes.logged.lock().unwrap();
    let lines = logged.lines().filter(|line| !line.contains("DEBUG") && !line.contains("TRACE"));
    lines
        .filter_map(|line| {
            let says = |words| line.contains(words);
            if says("the key store has not answered") || says("key store unavailable, answering") {
                return Some(BEGUN);
            }
            says("key store available again").then_some(OVER)
        })
        .collect()
}
