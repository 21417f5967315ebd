//! Measures the cost of the key check as ratios within one run:
//! `cargo bench -p api-key-tests --bench check`.
//!
//! The checks run in this process. The benchmark builds requests as a server would, and calls the
//! function that the attribute awaits. The benchmark compares processor time of all threads of the
//! process. Other programs on a busy machine change processor time less than elapsed time.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{hint::black_box, sync::Barrier, thread};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    http::StatusCode,
    rt::{System, SystemRunner},
};
use api_key_runtime::{
    AppKeys,
    store::KeyDigest,
    test_util::{MemoryStore, bench},
};

use self::support::{
    Database, Key, authenticate, figure,
    figures::{self, Side},
    heading, make_keys, plot, presented, process, ratio, ratio_of_ns, request, requests,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

const ROUNDS: usize = 101;
/// Number of keys in use, each with its own request.
const HOT: usize = 100;
const USES: usize = 100;
const REJECTIONS: usize = 2000;
const THREAD_ROUNDS: usize = 31;
/// The number of times that one thread uses each key per round.
const THREAD_USES: usize = 2000;

fn main() {
    heading();
    let system = System::new();
    over_floor(&system);
    rejections(&system);
    println!("# load average {} at the end", figures::load_average());
}

/// Compares the whole check of a cached key with the minimum work: reading one header, digesting
/// the key and probing the map. The digest and the probe are the library's own.
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
                // A server also clears the extensions at the end of each request. A remaining key
                // would look like the key of an outer guard, so its usage would not be counted.
                request.extensions_mut().clear();
            }
        });
    };
    let floor = || {
        for request in &requests {
            assert!(black_box(support::floor(&keys, request)));
        }
    };
    check();
    let [whole, _] = ratio_of_ns("warm_check_over_floor", ROUNDS, |side, _| match side {
        Side::One => nanoseconds(check),
        Side::Other => nanoseconds(floor),
    });
    figure("warm_check_ns", whole, "ns");
    plot_parts(&keys, &requests, whole);
    let works = [("check", checks as Work), ("response", responses), ("digest", digests)];
    for (part, work) in works {
        two_threads(&format!("two_threads_over_one_{part}"), &keys, &hot, work);
    }
}

/// Work of one thread: prepares the thread, waits for the other threads, and returns the processor
/// time, in seconds, of [`THREAD_USES`] uses of every key.
type Work = fn(&AppKeys, &[Key], &Barrier) -> f64;

/// Compares the throughput of two threads with that of one thread. Each thread has its own half of
/// the keys, so keys are not shared. The throughput is that of processor time, which includes waits
/// for memory that the other thread has just written.
fn two_threads(name: &str, keys: &AppKeys, hot: &[Key], work: Work) {
    let (one_half, other_half) = hot.split_at(hot.len() / 2);
    ratio(name, THREAD_ROUNDS, |side, _| {
        let parts = if side == Side::One { vec![one_half, other_half] } else { vec![one_half] };
        let start = &Barrier::new(parts.len());
        let uses = parts.len() * one_half.len() * THREAD_USES;
        let seconds = thread::scope(|scope| {
            let threads =
                parts.into_iter().map(|part| scope.spawn(move || work(keys, part, start)));
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).fold(0.0, f64::max)
        });
        uses as f64 / seconds
    });
}

fn checks(keys: &AppKeys, hot: &[Key], start: &Barrier) -> f64 {
    let system = System::new();
    let requests = system.block_on(requests(keys, hot));
    seconds(start, || {
        system.block_on(async {
            for request in &requests {
                assert_eq!(black_box(authenticate(request).await), Ok(()));
                request.extensions_mut().clear();
            }
        });
    })
}

/// Builds responses with the headers of a guarded route, without a request.
fn responses(keys: &AppKeys, hot: &[Key], start: &Barrier) -> f64 {
    seconds(start, || {
        for _ in hot {
            let mut response = HttpResponse::Ok().body("An order for seventeen cakes.\n");
            bench::finish(keys, &mut response);
            black_box(response);
        }
    })
}

/// Computes digests. The threads share nothing that is written, so the ratio is the limit of the
/// machine.
fn digests(keys: &AppKeys, hot: &[Key], start: &Barrier) -> f64 {
    seconds(start, || {
        for key in hot {
            black_box(bench::digest(keys, key.secret.as_bytes()));
        }
    })
}

fn seconds(start: &Barrier, pass: impl Fn()) -> f64 {
    pass();
    start.wait();
    process::thread_seconds_for(|| (0..THREAD_USES).for_each(|_| pass()))
}

/// Draws the cost of each part of a check.
fn plot_parts(keys: &AppKeys, requests: &[HttpRequest], whole: f64) {
    let presented: Vec<&[u8]> = requests.iter().filter_map(presented).collect();
    let digests: Vec<KeyDigest> = presented.iter().map(|key| bench::digest(keys, key)).collect();
    let header =
        nanoseconds(|| assert!(requests.iter().all(|request| self::presented(request).is_some())));
    let hash = nanoseconds(|| {
        for key in &presented {
            black_box(bench::digest(keys, key));
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

/// Returns the time of one request in nanoseconds, averaged over many uses of all keys.
fn nanoseconds(pass: impl Fn()) -> f64 {
    let seconds = process::cpu_seconds_for(|| (0..USES).for_each(|_| pass()));
    seconds * 1e9 / (USES * HOT) as f64
}

/// Shows that rejecting an overlong key costs no more than rejecting a short invalid key.
fn rejections(system: &SystemRunner) {
    let keys = AppKeys::builder().store(MemoryStore::default()).build().unwrap();
    let short = request(&keys, "bad");
    for (name, length) in [("refuse_257_bytes_over_3", 257), ("refuse_100_kb_over_3", 100_000)] {
        let long = request(&keys, &"k".repeat(length));
        ratio_of_ns(name, ROUNDS, |side, _| {
            let request = if side == Side::One { &long } else { &short };
            let refuse = async {
                for _ in 0..REJECTIONS {
                    let answer = black_box(authenticate(request).await);
                    assert_eq!(answer, Err(StatusCode::UNAUTHORIZED));
                }
            };
            process::cpu_seconds_for(|| system.block_on(refuse)) * 1e9 / REJECTIONS as f64
        });
    }
}
