//! Measures the memory of a cached key: `cargo bench -p api-key-tests --bench memory`.
//!
//! The result is the number of bytes that remain allocated while the keys are cached, divided by
//! the number of keys.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    alloc::{self, GlobalAlloc, Layout},
    iter,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use actix_web::rt::System;
use api_key_runtime::{
    AppKeys,
    admin::KeyRecord,
    store::{ChangeFeed, Changed, Changes, KeyDigest, KeyStore, StoreError},
};

use self::support::{authenticate, figure, figures::Progress, heading, keys::Maker, request};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

/// Hash tables grow by doubling, so the memory per key depends on the number of keys. The result is
/// the maximum over these numbers of keys.
const KEYS: [usize; 10] =
    [10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000, 60_000, 80_000, 100_000];

struct Counting;

static ALLOCATED: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call is passed to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(count(layout.size()), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { alloc::System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(count(layout.size()), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { alloc::System.dealloc(block, layout) }
    }
}

/// A store that finds every key and stores nothing. Apart from the first report of its feed, it
/// reports no change.
#[derive(Clone, Default)]
struct Everyone {
    found: Arc<AtomicUsize>,
}

impl KeyStore for Everyone {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.found.fetch_add(digests.len(), Ordering::Relaxed);
        Ok(digests.iter().map(|digest| record(*digest)).collect())
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        Ok(Some(Box::new(Unchanged { is_new: true })))
    }
}

struct Unchanged {
    is_new: bool,
}

impl ChangeFeed for Unchanged {
    fn changes(&mut self) -> Result<Changes, StoreError> {
        let is_new = std::mem::replace(&mut self.is_new, false);
        Ok(Changes::new(if is_new { Changed::Everything } else { Changed::Keys(Vec::new()) }))
    }

    fn wait(&mut self, at_most: std::time::Duration) -> Result<(), StoreError> {
        std::thread::sleep(at_most);
        Ok(())
    }
}

/// Returns a key with typical contents.
fn record(digest: KeyDigest) -> KeyRecord {
    let mut record = KeyRecord::new(17, digest, "203.0.113.0/24 127.0.0.1".parse().unwrap());
    record.hint = "ak_live_Ab3d".into();
    record.name = "billing service".into();
    record.owner = Some("customer 12345".to_owned());
    record.scopes = "cakes:read cakes:write".parse().unwrap();
    record
}

/// A service, and a sample of the keys that were used.
struct Service {
    store: Everyone,
    keys: AppKeys,
    maker: Maker,
    used: usize,
    sample: Vec<String>,
}

impl Service {
    fn new() -> Self {
        let store = Everyone::default();
        Self {
            keys: AppKeys::builder().store(store.clone()).build().unwrap(),
            store,
            maker: Maker::new(),
            used: 0,
            sample: Vec::new(),
        }
    }

    /// Uses new keys until `wanted` keys were used in total.
    fn use_new(&mut self, wanted: usize, progress: &mut Progress) {
        // The runtime is dropped before the memory is measured, so its memory is not counted.
        System::new().block_on(async {
            while self.used < wanted {
                let key = self.maker.make();
                assert_eq!(authenticate(&request(&self.keys, &key.secret)).await, Ok(()));
                if self.used.is_multiple_of(1000) {
                    self.sample.push(key.secret);
                }
                self.used += 1;
                progress.step();
            }
        });
    }

    /// Returns whether a sample of the used keys is still cached. Only then is the allocated memory
    /// that of all keys.
    fn caches_all(&self) -> bool {
        let before = self.store.found.load(Ordering::Relaxed);
        System::new().block_on(async {
            for secret in &self.sample {
                assert_eq!(authenticate(&request(&self.keys, secret)).await, Ok(()));
            }
        });
        let asked_again = self.store.found.load(Ordering::Relaxed) - before;
        // A few keys may be looked up again, because entries become stale if this process pauses
        // for long.
        asked_again * 2 < self.sample.len()
    }
}

fn main() {
    heading();
    let mut service = Service::new();
    let mut progress = Progress::new("keys", KEYS[KEYS.len() - 1]);
    // Excludes one-time allocations for the first key.
    service.use_new(1, &mut progress);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut each = Vec::new();
    for wanted in KEYS {
        service.use_new(wanted, &mut progress);
        let held = ALLOCATED.load(Ordering::Relaxed) - before;
        if !service.caches_all() {
            println!("#   {wanted} keys exceed the cache capacity");
            break;
        }
        each.push(held as f64 / wanted as f64);
    }
    drop(progress);
    let worst = each.iter().copied().fold(0.0, f64::max);
    figure("bytes_per_cached_key", worst, "bytes");
    for (keys, each) in iter::zip(KEYS, each) {
        println!("#   {each:.0} with {keys} keys");
    }
}
