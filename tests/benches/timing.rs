//! Checks that response times do not reveal why a key is rejected:
//! `cargo bench -p api-key-tests --bench timing`.
//!
//! Compares the median rejection times of every kind of invalid key over loopback, after a warm-up.
//! Also applies the test of dudect to the comparison of two digests (Reparaz, Balasch and
//! Verbauwhede, "Dude, is my code constant time?", 2017). The test reports a difference if |t| is
//! at least 4.5.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{hint::black_box, time::Instant};

use actix_web::{HttpResponse, web};
use api_key_runtime::{
    AppKeys, admin::NewKey, require_app_key, store::KeyDigest, test_util::MemoryStore,
};
use chrono::{DateTime, TimeDelta, Utc};

use self::support::{
    Client, Server,
    figures::{Progress, figure, heading, quantile},
    load,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

/// Number of requests of each kind.
const REQUESTS: usize = 8000;
/// Number of samples, and number of digest comparisons per sample.
const SAMPLES: usize = 400_000;
const COMPARISONS: usize = 16;
/// Share of the samples that is kept. The slowest samples are dropped, because other work probably
/// interrupted them.
const KEPT: f64 = 0.9;

#[actix_web::get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn main() {
    heading();
    rejections();
    comparison();
}

/// Measures the median time of a rejection for each kind of invalid key, and the largest
/// difference.
fn rejections() {
    let store = MemoryStore::default();
    let keys = AppKeys::builder().store(store.clone()).build().unwrap();
    let issue = |addresses: &str| {
        let new = NewKey::new("timing").allow(addresses).unwrap();
        store.issue(&new).unwrap()
    };
    let long_ago = Some(DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(1));
    let changed = |change: fn(&mut api_key_runtime::admin::KeyRecord, Option<DateTime<Utc>>)| {
        let issued = issue("0.0.0.0");
        store.change(issued.record.id, |record| change(record, long_ago));
        issued.secret.expose_secret().to_owned()
    };
    let unknown = keys.make_key(&NewKey::new("timing").allow_any()).unwrap();
    let unknown = unknown.secret.expose_secret().to_owned();
    let mut malformed = unknown.clone();
    let last = malformed.pop().unwrap();
    malformed.push(if last == 'a' { 'b' } else { 'a' });
    let kinds = [
        ("unknown", unknown),
        ("revoked", changed(|record, at| record.revoked_at = at)),
        ("disabled", changed(|record, at| record.disabled_at = at)),
        ("expired", changed(|record, at| record.expires_at = at)),
        ("malformed", malformed),
        ("wrong address", issue("203.0.113.7").secret.expose_secret().to_owned()),
    ];
    let server = Server::start(move |config: &mut web::ServiceConfig| {
        config.app_data(keys.clone()).service(guarded);
    });
    let mut client = Client::connect(server.address);
    let requests: Vec<_> = kinds.iter().map(|(_, key)| load::get("/guarded", key)).collect();
    let mut samples = vec![Vec::with_capacity(REQUESTS); kinds.len()];
    let mut progress = Progress::new("rejections", REQUESTS);
    for round in 0..REQUESTS {
        for turn in 0..requests.len() {
            // Rotates the order of the kinds, so that no kind is always measured first.
            let kind = (turn + round) % requests.len();
            let began = Instant::now();
            assert_eq!(client.status(&requests[kind]), 401);
            samples[kind].push(began.elapsed().as_secs_f64() * 1e6);
        }
        progress.step();
    }
    drop(progress);
    let mut medians = Vec::new();
    for (samples, (name, _)) in samples.iter_mut().zip(&kinds) {
        samples.sort_by(f64::total_cmp);
        medians.push(quantile(samples, 0.5));
        println!("#   {name}: {:.2} us (median)", quantile(samples, 0.5));
    }
    medians.sort_by(f64::total_cmp);
    figure("refusal_medians_apart_us", medians[medians.len() - 1] - medians[0], "us");
}

/// Computes Welch's t for two classes: digests that differ in their first byte, and digests that
/// differ in their last byte.
fn comparison() {
    let stored = KeyDigest::from_bytes([0x5a; 32]);
    let classes = [0, 31].map(|position| {
        let mut bytes = [0x5a; 32];
        bytes[position] ^= 1;
        KeyDigest::from_bytes(bytes)
    });
    let mut samples = [Vec::new(), Vec::new()];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut progress = Progress::new("comparison", SAMPLES);
    for number in 0..SAMPLES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let class = usize::from(random & 1 == 1);
        let digest = black_box(classes[class]);
        let began = Instant::now();
        for _ in 0..COMPARISONS {
            black_box(black_box(&stored) == black_box(&digest));
        }
        samples[class].push(began.elapsed().as_nanos() as f64);
        if number.is_multiple_of(10_000) {
            progress.advance(10_000);
        }
    }
    drop(progress);
    let [one, other] = samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        let bound = quantile(&samples, KEPT);
        samples.retain(|sample| *sample <= bound);
        mean_and_error(&samples)
    });
    let t = (one.0 - other.0) / (one.1 + other.1).sqrt();
    figure("digest_comparison_t", t, "");
    println!("#   {:.2} ns and {:.2} ns for {COMPARISONS} comparisons", one.0, other.0);
}

/// Returns the mean and the square of its standard error.
fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let variance =
        samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count)
}
