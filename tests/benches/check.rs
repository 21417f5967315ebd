//! Measures the cost of the key check as ratios within one run:
//! `cargo bench -p api-key-tests --bench check`.
//!
//! The checks run in this process: requests as a server passes them to a handler, and the function
//! that the attribute awaits. The benchmark compares processor time of all threads of the process.
//! Other programs on a busy machine change processor time less than elapsed time.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::hint::black_box;

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::{
        StatusCode,
        header::{AUTHORIZATION, HeaderValue},
    },
    rt::{System, SystemRunner},
};
use api_key_runtime::{
    AppKeys,
    store::KeyDigest,
    test_util::{MemoryStore, bench},
};
use sha2::{Digest as _, Sha256};

use self::support::{
    Database, authenticate,
    figures::{self, Side},
    heading, make_keys, plot, process, ratio, request, requests,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

const ROUNDS: usize = 101;
/// Number of keys in use, each with its own request.
const HOT: usize = 100;
const USES: usize = 100;
const REJECTIONS: usize = 2000;

fn main() {
    heading();
    let system = System::new();
    over_floor(&system);
    rejections(&system);
    println!("# load average {} at the end", figures::load_average());
}

/// Compares the whole check of a cached key with its minimum: read one header, hash the key and
/// probe the map.
///
/// The check includes the cleanup at the end of the request, which releases the key in the
/// extensions.
fn over_floor(system: &SystemRunner) {
    let database = Database::sqlite();
    let hot = make_keys(HOT);
    database.insert(&hot);
    let keys = database.keys();
    let requests = system.block_on(requests(&keys, &hot));
    assert_eq!(requests.len(), hot.len());
    let check = || {
        system.block_on(async {
            for request in &requests {
                assert_eq!(black_box(authenticate(request).await), Ok(()));
                // A server also clears the extensions at the end of each request. A key that is
                // still there looks like the key of an outer guard, so its usage would not be
                // counted again.
                request.extensions_mut().clear();
            }
        });
    };
    let floor = || {
        for request in &requests {
            assert!(black_box(floor(&keys, request)));
        }
    };
    check();
    ratio("warm_check_over_floor", ROUNDS, |side, _| match side {
        Side::One => nanoseconds(check),
        Side::Other => nanoseconds(floor),
    });
    let whole = nanoseconds(check);
    println!("#   {whole:.0} ns over {:.0} ns, with Authorization: Bearer", nanoseconds(floor));
    plot_parts(&keys, &requests, whole);
}

/// Draws what the parts of a check cost.
fn plot_parts(keys: &AppKeys, requests: &[HttpRequest], whole: f64) {
    let presented: Vec<&[u8]> = requests.iter().filter_map(key).collect();
    let digests: Vec<KeyDigest> = presented.iter().map(|key| digest(key)).collect();
    let header = nanoseconds(|| assert!(requests.iter().all(|request| key(request).is_some())));
    let hash = nanoseconds(|| {
        for key in &presented {
            black_box(digest(key));
        }
    });
    let probe = nanoseconds(|| assert!(digests.iter().all(|digest| bench::probe(keys, digest))));
    let parts = [
        ("whole check", whole),
        ("find the header", header),
        ("SHA-256 of the key", hash),
        ("cache lookup", probe),
        ("clocks, client IP, decision", whole - header - hash - probe),
    ];
    plot::bars("check", "Cost of checking a cached key, and of its parts", "nanoseconds", &parts);
}

fn floor(keys: &AppKeys, request: &HttpRequest) -> bool {
    key(request).is_some_and(|key| bench::probe(keys, &digest(key)))
}

fn key(request: &HttpRequest) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    value.and_then(|value| value.strip_prefix(b"Bearer "))
}

fn digest(key: &[u8]) -> KeyDigest {
    KeyDigest::from_bytes(Sha256::digest(key).into())
}

/// Returns the time of one request in nanoseconds, averaged over many uses of all keys.
fn nanoseconds(pass: impl Fn()) -> f64 {
    let seconds = process::cpu_seconds_for(|| (0..USES).for_each(|_| pass()));
    seconds * 1e9 / (USES * HOT) as f64
}

/// Shows that a key that is too long costs no more to reject than a short invalid key.
fn rejections(system: &SystemRunner) {
    let keys = AppKeys::builder().store(MemoryStore::default()).build().unwrap();
    let short = request(&keys, "bad");
    for (name, length) in [("refuse_257_bytes_over_3", 257), ("refuse_100_kb_over_3", 100_000)] {
        let long = request(&keys, &"k".repeat(length));
        ratio(name, ROUNDS, |side, _| {
            let request = if side == Side::One { &long } else { &short };
            let refuse = async {
                for _ in 0..REJECTIONS {
                    let answer = black_box(authenticate(request).await);
                    assert_eq!(answer, Err(StatusCode::UNAUTHORIZED));
                }
            };
            process::cpu_seconds_for(|| system.block_on(refuse))
        });
    }
}
