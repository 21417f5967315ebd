//! What a known key takes in memory: `cargo bench -p api-key-tests --bench memory`.
//!
//! The bytes asked of the allocator that are still held once everything else is gone, by the number of keys.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use actix_web::rt;
use api_key_runtime::{AppKeys, ChangeCursor, Changes, Digest, KeyRecord, KeyStore, StoreError};

use self::support::{authenticate, figure, figures::Progress, heading, keys::Maker, request};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

/// Tables of keys grow by doubling, so how much is in use depends on how many there are: the figure is the worst from the first of these
/// numbers on.
const KEYS: [usize; 10] = [
    10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000, 60_000, 80_000, 100_000,
];

struct Counting;

static ALLOCATED: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call goes on to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(count(layout.size()), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(count(layout.size()), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Knows every key, keeps none, and never has a change to tell.
#[derive(Clone, Default)]
struct Everyone {
    found: Arc<AtomicUsize>,
}

impl KeyStore for Everyone {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        self.found.fetch_add(digests.len(), Ordering::Relaxed);
        Ok(digests.iter().map(|digest| record(*digest)).collect())
    }

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        let cursor = ChangeCursor::new("unchanged");
        Ok(Some(match since {
            None => Changes::everything(cursor),
            Some(_) => Changes::keys(cursor, []),
        }))
    }
}

/// A key as services issue them.
fn record(digest: Digest) -> KeyRecord {
    let mut record = KeyRecord::new(17, digest, "203.0.113.0/24 127.0.0.1".parse().unwrap());
    record.hint = "ak_live_Ab3d".to_owned();
    record.name = "billing service".to_owned();
    record.owner = Some("customer 12345".to_owned());
    record.scopes = "cakes:read cakes:write".parse().unwrap();
    record
}

fn main() {
    heading();
    let store = Everyone::default();
    let keys = AppKeys::builder().store(store.clone()).build().unwrap();
    let maker = Maker::new();
    let mut progress = Progress::new("keys", KEYS[KEYS.len() - 1]);
    let mut use_keys = |count| {
        // Each in a runtime of its own, of which nothing is left.
        rt::System::new().block_on(async {
            for _ in 0..count {
                let request = request(&keys, &maker.make().secret);
                assert_eq!(authenticate(&request).await, Ok(()));
                progress.step();
            }
        });
    };
    // What is made once, for the first key.
    use_keys(1);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut used = 0;
    let mut worst = (0.0, 0);
    for wanted in KEYS {
        use_keys(wanted - used);
        used = wanted;
        let held = ALLOCATED.load(Ordering::Relaxed) - before;
        let each = held as f64 / used as f64;
        if each > worst.0 {
            worst = (each, used);
        }
    }
    drop(progress);
    figure("bytes_per_cached_key", worst.0, "bytes");
    println!(
        "#   the worst of {} numbers of keys, at {}",
        KEYS.len(),
        worst.1
    );
}
