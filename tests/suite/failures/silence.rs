//! A database that answers nothing, or late: what is known of keys is used as long as it may be, and nobody waits for nothing.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    load::{Sample, assert_prompt, steady, with_key},
    routes,
};
use crate::{
    examples::Example,
    support::{Database, OwnServer, Proxy, Server, fixtures, http},
};

/// How old what a service knows may be, by default.
const MAX_STALENESS: Duration = Duration::from_secs(1);
/// How long the lenient service believes it while its database is away.
const STALE_IF_ERROR: Duration = Duration::from_secs(5);
/// The deadline of a look-up, by default.
const DEADLINE: Duration = Duration::from_secs(1);
/// What the first success may take after the database is back.
const RECOVERY: Duration = Duration::from_secs(1);
/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(1);
/// Far more than an answer takes that waits for nothing, and far less than one takes that waits for the database.
const PROMPT: Duration = Duration::from_millis(250);

/// What the requests of an outage saw.
struct Seen {
    /// The outage had begun by then.
    away: Instant,
    /// And was not over before this.
    back: Instant,
    health: Vec<Sample>,
    strict: Vec<Sample>,
    lenient: Vec<Sample>,
    unknown: Vec<Sample>,
}

/// Two services on one database, each with one worker: one with everything at its default, one with `stale_if_error`. Both are asked at
/// a steady rate before, during and after an outage.
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
    let stop = AtomicBool::new(false);
    let often = Duration::from_millis(20);
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
            steady(strict.address, often * 5, &stop, head)
        });
        thread::sleep(Duration::from_secs(1));
        begin();
        let away = Instant::now();
        thread::sleep(outage);
        let back = Instant::now();
        end();
        thread::sleep(RECOVERY + SLACK);
        stop.store(true, Ordering::SeqCst);
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
        self.assert_known(
            &format!("{what}, stale_if_error"),
            &self.lenient,
            STALE_IF_ERROR,
        );
        self.assert_no_more_than_the_default(what);
    }

    fn assert_no_more_than_the_default(&self, what: &str) {
        self.assert_known(what, &self.strict, MAX_STALENESS);
        for sample in &self.unknown {
            assert!(
                sample.took() < DEADLINE * 2 + SLACK,
                "{what}: an unknown key waited {sample:?}"
            );
            let during = self.away < sample.sent && sample.answered < self.back;
            let expected = if during { &[503][..] } else { &[401, 503] };
            assert!(
                expected.contains(&sample.status),
                "{what}: an unknown key: {sample:?}"
            );
        }
        assert!(self.health.iter().all(|sample| sample.status == 200));
        assert_prompt(&format!("{what}, /health"), &self.health, PROMPT);
        assert_prompt(&format!("{what}, known key"), &self.strict, PROMPT);
        assert_prompt(
            &format!("{what}, known key, stale_if_error"),
            &self.lenient,
            PROMPT,
        );
    }

    /// A known key passes as long as it may be believed, not once more until the database is back, and soon then.
    fn assert_known(&self, what: &str, samples: &[Sample], bound: Duration) {
        let passed = |sample: &&Sample| sample.status == 200;
        let before = samples.iter().filter(|sample| sample.answered < self.away);
        assert!(
            before.clone().all(|sample| sample.status == 200),
            "{what}: before the outage"
        );
        // Who was still waiting when it came back may have been answered by it.
        let during = samples
            .iter()
            .filter(|sample| self.away <= sample.sent && sample.answered < self.back);
        let last = during
            .clone()
            .filter(passed)
            .map(|sample| sample.sent)
            .max();
        let passed_for = last.map_or(Duration::ZERO, |last| last - self.away);
        let refused = during
            .clone()
            .filter(|sample| sample.status == 503)
            .map(|sample| sample.sent);
        let first_refused = refused.min().expect("it outlasts what may be believed") - self.away;
        let after = samples.iter().filter(|sample| sample.sent >= self.back);
        let first = after
            .clone()
            .filter(passed)
            .map(|sample| sample.answered)
            .min();
        let recovered = first.expect("it recovers") - self.back;
        println!(
            "{what}: known key passes for {passed_for:?}, is refused from {first_refused:?}, passes again after {recovered:?}"
        );
        assert!(
            during
                .clone()
                .all(|sample| matches!(sample.status, 200 | 503))
        );
        // No slack: both were taken by one clock, and what is believed was read before the outage.
        assert!(passed_for <= bound, "{what}: believed for {passed_for:?}");
        // Requests overtake each other.
        assert!(
            first_refused + SLACK / 4 > passed_for,
            "{what}: refused and believed again"
        );
        assert!(
            passed_for + SLACK > bound,
            "{what}: given up after {passed_for:?}"
        );
        assert!(recovered < RECOVERY, "{what}: {recovered:?}");
    }
}

// F1, F2, F3, F4
#[test]
fn a_frozen_postgres_holds_no_worker_and_what_is_known_of_keys_is_used_as_long_as_it_may_be() {
    let server = OwnServer::start();
    let database = server.database();
    let url = database.migrate().url();
    let seen = observe(
        &database,
        url,
        || server.freeze(),
        Duration::from_secs(10),
        || server.thaw(),
    );
    seen.assert_the_outage_rule("frozen Postgres");
}

// F1, F3, F4
#[test]
fn a_postgres_that_is_gone_leaves_what_is_known_of_keys_usable_as_long_as_it_may_be() {
    let database = Database::postgres();
    let proxy = Proxy::start(database.migrate().server());
    let url = database.url_at(proxy.address);
    let seen = observe(
        &database,
        &url,
        || proxy.cut(),
        Duration::from_secs(6),
        || proxy.pass(),
    );
    seen.assert_the_outage_rule("Postgres that is gone");
}

// F1, F2, F6
#[test]
fn a_postgres_that_answers_late_is_waited_for_until_the_deadline_and_no_longer() {
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
fn more_keys_than_a_late_postgres_can_answer_for_are_refused_within_the_deadline() {
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
    let statuses: Vec<u16> = clients
        .iter_mut()
        .map(|client| client.read(false).unwrap().status)
        .collect();
    let took = sent.elapsed();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    println!(
        "{CLIENTS} keys at once, Postgres 2 s late: {refused} times 503, the last after {took:?}"
    );
    // The worker may be so busy with refusing that an answer has come by then.
    assert!(statuses.iter().all(|status| matches!(status, 401 | 503)));
    assert!(refused > CLIENTS / 2, "{refused}");
    assert!(took < DEADLINE + SLACK * 2, "{took:?}");
    proxy.pass();
    let back = Instant::now();
    while http::get_with(service.address, "/guarded", &key).status != 200 {
        assert!(back.elapsed() < RECOVERY, "it did not recover");
    }
    println!("first success after {:?}", back.elapsed());
}

// F2, F3
#[test]
fn a_service_without_its_database_says_so_once_and_has_no_more_threads_than_before() {
    /// Look-up threads that may be given up, and feeds.
    const ABANDONED: usize = 8 + 4;
    let server = OwnServer::start();
    let database = server.database();
    let (key, _) = database.issue("0.0.0.0");
    let cakes = Example::cakes(&database);
    let address = cakes.address();
    let ask = |key: &str| http::get_with(address, "/version", key).status;
    for _ in 0..20 {
        assert_eq!(ask(&key), 200);
    }
    let base = cakes.threads();
    server.freeze();
    let frozen = Instant::now();
    let mut most = base;
    while frozen.elapsed() < Duration::from_secs(8) {
        assert!(matches!(ask(&fixtures::unknown()), 503));
        most = most.max(cakes.threads());
        thread::sleep(Duration::from_millis(10));
    }
    server.thaw();
    while ask(&fixtures::unknown()) != 401 {}
    // An outage is over when nothing failed for a second.
    let until = Instant::now() + Duration::from_secs(10);
    let settled = |cakes: &Example| {
        assert_eq!(ask(&key), 200);
        cakes.threads() <= base && said(cakes, "answers again") > 0
    };
    while !settled(&cakes) {
        assert!(
            Instant::now() < until,
            "{} threads, at first {base}; {}",
            cakes.threads(),
            cakes.logged.lock().unwrap()
        );
        thread::sleep(Duration::from_millis(50));
    }
    println!(
        "threads: {base} at first, {most} at most while frozen, {} after",
        cakes.threads()
    );
    assert!(most <= base + ABANDONED, "{most} threads, at first {base}");
    let begun = said(&cakes, "the key store has not answered")
        + said(&cakes, "the key store cannot be asked");
    assert_eq!((begun, said(&cakes, "the key store answers again")), (1, 1));
}

/// How many lines of its log, of what is no detail, hold these words.
fn said(cakes: &Example, words: &str) -> usize {
    let logged = cakes.logged.lock().unwrap();
    let lines = logged.lines().filter(|line| line.contains(words));
    lines
        .filter(|line| !line.contains("DEBUG") && !line.contains("TRACE"))
        .count()
}
