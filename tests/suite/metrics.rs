//! Counters, and their text for Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use actix_web::{get, web};
use api_key_runtime::{
    AppKeys,
    admin::NewKey,
    metrics::{Metrics, RejectionReason},
    test_util::MemoryStore,
};

use crate::support::{
    Database, FakeStore, Fixtures, LONG_DEADLINE, Server, fixtures, guarded_routes, http,
    wait_until,
};

/// A time longer than any test, so that the store is queried once per key.
const LONG: Duration = Duration::from_secs(3600);

#[get("/metrics")]
async fn figures(keys: AppKeys) -> String {
    keys.metrics().to_prometheus()
}

/// Starts a server with its keys in `web::Data`.
fn serve(keys: &AppKeys) -> Server {
    let data = web::Data::new(keys.clone());
    Server::configured(move |config| {
        config.app_data(data.clone()).configure(guarded_routes).service(figures);
    })
}

/// Returns the value of each series. Parses the text as strictly as the format is specified.
fn read(text: &str) -> BTreeMap<String, String> {
    let mut series = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = ("", "");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').unwrap().0;
            assert!(families.insert(family), "{family} is duplicated");
        } else if let Some(name_and_kind) = line.strip_prefix("# TYPE ") {
            let (name, is) = name_and_kind.split_once(' ').unwrap();
            assert_eq!(name, family, "the help line is not right before the type line");
            kind = is;
            assert!(["counter", "gauge", "histogram"].contains(&kind));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (metric, labels) = match name.split_once('{') {
                Some((metric, labels)) => (metric, labels.strip_suffix('}').unwrap()),
                None => (name, ""),
            };
            let of_histogram = ["_bucket", "_sum", "_count"].map(|part| format!("{family}{part}"));
            assert!(
                metric == family
                    || kind == "histogram" && of_histogram.iter().any(|of| of == metric),
                "{line} does not belong to {family}"
            );
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').unwrap();
                assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -+.".contains(&byte);
                assert!(value.unwrap().bytes().all(plain), "{line}");
            }
            let number: f64 = value.parse().unwrap();
            assert!(number >= 0.0 && number.is_finite(), "{line}");
            assert_eq!(
                series.insert(name.to_owned(), value.to_owned()),
                None,
                "{name} is duplicated"
            );
        }
    }
    series
}

fn requests(metrics: &Metrics) -> BTreeMap<(String, String), String> {
    let of_requests = read(&metrics.to_prometheus()).into_iter().filter_map(|(name, value)| {
        let labels = name.strip_prefix("app_key_requests_total{outcome=\"")?;
        let (outcome, by) = labels.strip_suffix("\"}")?.split_once("\",by=\"")?;
        Some(((outcome.to_owned(), by.to_owned()), value))
    });
    of_requests.collect()
}

// G5
#[test]
fn requests_count_by_outcome_and_by_cache_hit() {
    let database = Database::sqlite();
    let builder = database.migrate().builder();
    // The keys are created before the feed starts, because a running feed would report each new key
    // as a change.
    let fixtures = Fixtures::new(&database);
    let keys = (builder.max_staleness(LONG).lookup_timeout(LONG_DEADLINE)).build().unwrap();
    // The first report of the change feed says that everything may have changed. It must come
    // before the requests, because cached keys are looked up again after it.
    wait_until("the feed is fresh", || keys.health().is_ready());
    let server = serve(&keys);
    let get = |path: &str, key: &str| http::get_with(server.address, path, key).status;
    assert_eq!(requests(&keys.metrics()), BTreeMap::new());

    for _ in 0..2 {
        assert_eq!(http::get(server.address, "/guarded", &[]).status, 401);
    }
    assert_eq!(get("/guarded", &fixtures::mistyped(&fixtures.active)), 401);
    // A malformed key is never looked up, so the second request is not a negative hit.
    for _ in 0..2 {
        assert_eq!(get("/guarded", "not,a,key"), 401);
    }
    let line = format!("X-API-Key: {}", fixtures.active);
    let twice = http::get(server.address, "/guarded", &[&line, &line]);
    assert_eq!(twice.status, 400);
    assert_eq!(http::get(server.address, "/optional", &[]).status, 200);
    for _ in 0..5 {
        assert_eq!(get("/guarded", &fixtures.active), 200);
    }
    assert_eq!(get("/twice/guarded", &fixtures.active), 200);
    assert_eq!(get("/scoped", &fixtures.active), 403);
    for (_, key) in fixtures.invalid() {
        assert_eq!((get("/guarded", key), get("/guarded", key)), (401, 401));
    }

    let counted = keys.metrics();
    let expected = [
        ("accepted", "cache", 6),
        ("accepted", "store", 1),
        ("accepted without key", "request", 1),
        ("no key", "request", 2),
        ("several keys", "request", 1),
        ("malformed", "request", 3),
        ("scope missing", "cache", 1),
        ("unknown key", "cache", 1),
        ("unknown key", "store", 1),
        ("revoked", "cache", 1),
        ("revoked", "store", 1),
        ("disabled", "cache", 1),
        ("disabled", "store", 1),
        ("expired", "cache", 1),
        ("expired", "store", 1),
        ("address not allowed", "cache", 2),
        ("address not allowed", "store", 2),
    ];
    let expected = expected
        .map(|(outcome, by, count)| ((outcome.to_owned(), by.to_owned()), count.to_string()));
    assert_eq!(requests(&counted), BTreeMap::from(expected));
    assert_eq!((counted.accepted(), counted.accepted_without_key()), (7, 1));
    assert_eq!((counted.hits(), counted.misses()), (13, 7));
    let refused: HashMap<_, _> = counted.rejected().collect();
    assert_eq!(
        (refused[&RejectionReason::NoKey], refused[&RejectionReason::AddressNotAllowed]),
        (2, 4)
    );
    assert_eq!((counted.lookups(), counted.failed_lookups()), (7, 0));
    assert!(counted.lookup_time() > Duration::ZERO);
    assert_eq!((counted.cached_keys(), counted.negative_entries()), (6, 1));
    assert_eq!((counted.queued_lookups(), counted.dropped_usage()), (0, 0));
    assert!(counted.health().is_ready());
    let series = read(&counted.to_prometheus());
    assert_eq!(series["app_key_feed_state{state=\"fresh\"}"], "1");
    assert_eq!(series["app_key_ready"], "1");
    assert!(series.contains_key("app_key_staleness_seconds"));
}

// G5, G1
#[test]
fn callers_cannot_add_metric_series() {
    let store = MemoryStore::default();
    let good = (store.issue(&NewKey::new("good").allow_any())).unwrap();
    let keys = (AppKeys::builder().store(store).max_staleness(LONG)).build().unwrap();
    let server = serve(&keys);
    let scraped = || {
        let answer = http::get(server.address, "/metrics", &[]);
        assert_eq!(answer.status, 200);
        read(std::str::from_utf8(&answer.body).unwrap())
    };
    let request = |number: usize, key: &str| {
        let line = format!("X-API-Key: {key}");
        let forwarded = format!("X-Forwarded-For: 203.0.113.{}", number % 250);
        let path = format!("/guarded?x={number}");
        http::get(server.address, &path, &[&line, &forwarded]).status
    };
    assert_eq!(request(0, good.secret.expose_secret()), 200);
    assert_eq!(request(0, good.secret.expose_secret()), 200);
    assert_eq!(request(0, &fixtures::unknown()), 401);
    assert_eq!(request(0, "nonsense"), 401);
    let few: Vec<String> = scraped().into_keys().collect();
    for number in 1..300 {
        assert_eq!(request(number, &fixtures::unknown()), 401);
        assert_eq!(request(number, &format!("nonsense-{number}")), 401);
    }
    let many = scraped();
    assert_eq!(many.keys().cloned().collect::<Vec<_>>(), few);
    assert_eq!(many["app_key_negative_entries"], "300");
}

// G5
#[test]
fn lookups_are_visible_while_queued_and_afterwards() {
    let memory = MemoryStore::default();
    let store = FakeStore::held(memory.clone());
    let issued = (memory.issue(&NewKey::new("good").allow_any())).unwrap();
    let keys =
        (AppKeys::builder().store(store.clone()).lookup_timeout(LONG_DEADLINE)).build().unwrap();
    let server = serve(&keys);
    let held = Duration::from_millis(300);
    std::thread::scope(|scope| {
        let get =
            || http::get_with(server.address, "/guarded", issued.secret.expose_secret()).status;
        let waiting = scope.spawn(get);
        store.wait_until_inside(1);
        assert_eq!(keys.metrics().queued_lookups(), 1);
        assert_eq!((keys.metrics().lookups(), keys.metrics().misses()), (0, 0));
        std::thread::sleep(held);
        store.release();
        assert_eq!(waiting.join().unwrap(), 200);
    });
    wait_until("the lookup is counted", || keys.metrics().lookups() == 1);
    let counted = keys.metrics();
    assert_eq!((counted.queued_lookups(), counted.misses()), (0, 1));
    assert!(counted.lookup_time() >= held, "{:?}", counted.lookup_time());
    let within: Vec<_> = counted.lookup_buckets().collect();
    assert!(within.iter().all(|&(bound, calls)| calls == 0 || bound >= held));
    let series = read(&counted.to_prometheus());
    assert_eq!(series["app_key_lookup_seconds_bucket{le=\"0.25\"}"], "0");
    assert_eq!(series["app_key_lookup_seconds_bucket{le=\"+Inf\"}"], "1");
    assert_eq!(series["app_key_lookup_seconds_count"], "1");
    let sum: f64 = series["app_key_lookup_seconds_sum"].parse().unwrap();
    assert!(sum >= 0.3);
}

// G5
#[test]
fn a_failed_lookup_is_counted() {
    let keys =
        AppKeys::builder().store(FakeStore::failing("the table is unavailable")).build().unwrap();
    let server = serve(&keys);
    let status = http::get_with(server.address, "/guarded", &fixtures::unknown()).status;
    assert_eq!(status, 503);
    let counted = keys.metrics();
    assert_eq!((counted.lookups(), counted.failed_lookups()), (1, 1));
    assert_eq!(counted.rejected().collect::<Vec<_>>(), [(RejectionReason::Unavailable, 1)]);
    assert_eq!((counted.hits(), counted.misses()), (0, 1));
    let series = read(&counted.to_prometheus());
    assert_eq!(series["app_key_failed_lookups_total"], "1");
    assert_eq!(series["app_key_feed_state{state=\"unsupported\"}"], "1");
}
