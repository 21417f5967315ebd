use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use chrono::{DateTime, Utc};

use super::{usage_buffer::MAX_KEYS, *};
use crate::{key::KeyDigest, key_record::KeyRecord, key_usage::KeyUsage, store::StoreError};

/// A time longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A function that decides whether the write of this usage fails.
type Fault = fn(&[KeyUsage]) -> bool;

/// A store that records usage in memory, unless it is set to fail, panic or hang.
#[derive(Default)]
struct Store {
    batches: Mutex<Vec<Vec<KeyUsage>>>,
    fault: Mutex<Option<Fault>>,
    panics: AtomicU64,
    /// The number of writes that will hang, and how often hung writes were released.
    hanging: Mutex<(u32, u32)>,
    let_go: Condvar,
}

impl Store {
    fn recorded(&self) -> BTreeMap<i64, KeyUsage> {
        let mut recorded = BTreeMap::<i64, KeyUsage>::new();
        for uses in self.batches.lock().unwrap().iter().flatten() {
            recorded
                .entry(uses.key_id)
                .and_modify(|known| known.merge(uses))
                .or_insert_with(|| uses.clone());
        }
        recorded
    }

    fn count(&self) -> u64 {
        self.recorded().values().map(|uses| uses.count).sum()
    }

    /// Sets the function that decides which writes fail. With `None`, every write succeeds.
    fn fail(&self, fault: Option<fn(&[KeyUsage]) -> bool>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Makes the next write hang until it is released.
    fn hang(&self) {
        self.hanging.lock().unwrap().0 = 1;
    }

    fn hangs(&self) -> bool {
        self.hanging.lock().unwrap().0 == 0
    }

    fn let_go(&self) {
        let mut hanging = self.hanging.lock().unwrap();
        *hanging = (0, hanging.1 + 1);
        drop(hanging);
        self.let_go.notify_all();
    }
}

impl KeyStore for Store {
    fn find(&self, _: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }

    fn record_usage(&self, uses: &[KeyUsage]) -> Result<(), StoreError> {
        let mut hanging = self.hanging.lock().unwrap();
        if hanging.0 > 0 {
            hanging.0 -= 1;
            let before = hanging.1;
            hanging = self.let_go.wait_while(hanging, |hanging| hanging.1 == before).unwrap();
        }
        drop(hanging);
        if self.panics.load(Ordering::SeqCst) > 0 {
            self.panics.fetch_sub(1, Ordering::SeqCst);
            panic!("a bug in a store");
        }
        if self.fault.lock().unwrap().is_some_and(|fault| fault(uses)) {
            return Err(StoreError::new("unavailable"));
        }
        self.batches.lock().unwrap().push(uses.to_vec());
        Ok(())
    }
}

fn start(interval: Duration, stuck_after: Duration) -> (Arc<Store>, Usage) {
    let store = Arc::<Store>::default();
    let shared = Arc::<Store>::clone(&store);
    let writer =
        Writer::start(shared, Clock::default(), interval, stuck_after, Workers::default()).unwrap();
    if stuck_after < LONG {
        supervise(&writer);
    }
    (store, Usage { writer })
}

/// Supervises the writer's thread until the writer is dropped.
fn supervise(writer: &Arc<Writer>) {
    let writer = Arc::downgrade(writer);
    thread::spawn(move || {
        while let Some(writer) = writer.upgrade() {
            writer.replace_hung_thread().unwrap();
            drop(writer);
            thread::sleep(Duration::from_millis(1));
        }
    });
}

struct Key {
    id: i64,
    usage: UsageCell,
}

impl Counted for Key {
    fn id(&self) -> i64 {
        self.id
    }

    fn hint(&self) -> &'static str {
        "ak_test_Ab3d"
    }

    fn warns_before(&self) -> Option<DateTime<Utc>> {
        None
    }

    fn usage(&self) -> &UsageCell {
        &self.usage
    }
}

fn key(id: i64) -> Arc<Key> {
    Arc::new(Key { id, usage: UsageCell::default() })
}

fn until(done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < TEST_TIMEOUT, "the condition was not met in time");
        thread::sleep(Duration::from_millis(1));
    }
}

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)));

// F11
#[test]
fn a_flush_writes_each_key_once_with_its_last_use() {
    let (store, usage) = start(LONG, LONG);
    let began = Utc::now();
    let used = MonotonicTime::now();
    // Key 2 has two values in memory, as if the cache had dropped the key and then looked it up
    // again.
    let keys = [key(3), key(2), key(1), key(2)];
    for key in &keys {
        usage.note(key, used, None.into());
        usage.note(key, used, HERE.into());
    }
    drop(keys);
    thread::sleep(Duration::from_millis(400));
    assert!(usage.flush(TEST_TIMEOUT));
    let batches = store.batches.lock().unwrap();
    let [batch] = batches.as_slice() else { panic!("not one batch: {batches:?}") };
    let written: Vec<_> = batch.iter().map(|uses| (uses.key_id, uses.count)).collect();
    assert_eq!(written, [(1, 2), (2, 4), (3, 2)]);
    for uses in batch {
        assert_eq!(uses.last_used_ip, HERE);
        let after = uses.last_used_at - began;
        assert!(
            after.num_milliseconds().abs() < 300,
            "the recorded time is not the time of the use: {after}"
        );
    }
}

// F11
#[test]
fn usage_is_written_at_its_interval_and_only_once() {
    let (store, usage) = start(Duration::from_millis(10), LONG);
    let key = key(1);
    for round in 1..=5 {
        usage.note(&key, MonotonicTime::now(), HERE.into());
        until(|| store.count() == round);
    }
    thread::sleep(Duration::from_millis(50));
    assert_eq!(store.batches.lock().unwrap().len(), 5);
}

// F11
#[test]
fn usage_that_cannot_be_written_is_kept_and_retried() {
    let (store, usage) = start(LONG, LONG);
    let key = key(1);
    store.fail(Some(|_| true));
    for _ in 0..3 {
        usage.note(&key, MonotonicTime::now(), HERE.into());
        assert!(!usage.flush(Duration::ZERO));
    }
    store.panics.store(2, Ordering::SeqCst);
    usage.note(&key, MonotonicTime::now(), None.into());
    assert!(!usage.flush(Duration::from_millis(250)), "failed writes are retried");
    store.fail(None);
    assert!(usage.flush(TEST_TIMEOUT));
    let recorded = store.recorded();
    assert_eq!((recorded[&1].count, recorded[&1].last_used_ip), (4, None));
}

// F11
#[test]
fn two_failed_batches_end_a_flush() {
    let (store, usage) = start(LONG, LONG);
    let keys: Vec<_> = (1..=2000).map(key).collect();
    let note_all = || {
        for key in &keys {
            usage.note(key, MonotonicTime::now(), HERE.into());
        }
    };
    note_all();
    store.fail(Some(|uses| uses.iter().any(|uses| uses.key_id == 700)));
    assert!(!usage.flush(Duration::ZERO));
    usage.flush(Duration::from_millis(100));
    // Every batch is written except the batch with key 700.
    until(|| store.count() == 1500);
    store.fail(Some(|uses| uses.iter().any(|uses| uses.key_id % 500 == 0)));
    note_all();
    assert!(!usage.flush(Duration::from_millis(100)));
    store.fail(None);
    assert!(usage.flush(TEST_TIMEOUT));
    let recorded = store.recorded();
    assert_eq!(recorded.len(), 2000);
    assert!(recorded.values().all(|uses| uses.count == 2));
}

// F11
#[test]
fn many_keys_are_written_before_their_time() {
    let (store, usage) = start(LONG, LONG);
    let most = i64::try_from(MAX_KEYS).unwrap();
    for id in 1..=most / 2 + 1 {
        usage.note(&key(id), MonotonicTime::now(), HERE.into());
    }
    until(|| store.count() > 0);
}

// F11
#[test]
fn usage_memory_is_bounded_while_the_store_hangs() {
    let (store, usage) = start(LONG, LONG);
    let first = key(0);
    store.hang();
    usage.note(&first, MonotonicTime::now(), HERE.into());
    assert!(!usage.flush(Duration::ZERO));
    until(|| store.hangs());
    let most = i64::try_from(MAX_KEYS).unwrap();
    for id in 1..=most {
        usage.note(&key(id), MonotonicTime::now(), HERE.into());
    }
    let late = key(most + 1);
    for _ in 0..3 {
        usage.note(&late, MonotonicTime::now(), HERE.into());
    }
    assert_eq!(Arc::strong_count(&late), 1, "the key is not kept");
    assert_eq!(usage.lost(), 3);
    store.let_go();
    assert!(usage.flush(TEST_TIMEOUT));
    assert_eq!(store.count(), u64::try_from(most).unwrap() + 1);
    usage.note(&late, MonotonicTime::now(), HERE.into());
    assert!(usage.flush(TEST_TIMEOUT));
    assert_eq!(store.recorded()[&late.id].count, 1, "there is room again");
    assert_eq!(usage.lost(), 3, "dropped uses are not recovered");
}

// F11
// A stuck write does not stop other writes.
#[test]
fn a_stuck_write_is_neither_lost_nor_repeated() {
    let (store, usage) = start(LONG, Duration::from_millis(20));
    let key = key(1);
    for write in 1..=6 {
        store.hang();
        usage.note(&key, MonotonicTime::now(), HERE.into());
        assert!(!usage.flush(Duration::from_millis(50)), "write {write}");
    }
    // Four writes were abandoned, and a fifth write hangs. Later usage is kept until a write
    // returns.
    assert_eq!(store.count(), 0);
    store.let_go();
    assert!(usage.flush(TEST_TIMEOUT));
    assert_eq!(store.count(), 6);

    store.hang();
    usage.note(&key, MonotonicTime::now(), HERE.into());
    assert!(!usage.flush(Duration::ZERO));
    until(|| store.hangs());
    usage.note(&self::key(2), MonotonicTime::now(), HERE.into());
    until(|| {
        usage.flush(Duration::ZERO);
        store.recorded().contains_key(&2)
    });
    assert_eq!(store.recorded()[&1].count, 6);
    store.let_go();
    assert!(usage.flush(TEST_TIMEOUT));
    assert_eq!(store.recorded()[&1].count, 7);
}

// F11
#[test]
fn a_failed_flush_is_reported_while_the_next_one_writes() {
    let (store, usage) = start(LONG, LONG);
    store.fail(Some(|_| true));
    store.hanging.lock().unwrap().0 = 2;
    let hanging = |yet: u32| until(|| store.hanging.lock().unwrap().0 == yet);
    usage.note(&key(1), MonotonicTime::now(), HERE.into());
    thread::scope(|scope| {
        let first = scope.spawn(|| usage.writer.flush(TEST_TIMEOUT, false));
        hanging(1);
        let second = scope.spawn(|| usage.writer.flush(TEST_TIMEOUT, false));
        until(|| usage.writer.asked() == 2);
        store.hanging.lock().unwrap().1 += 1;
        store.let_go.notify_all();
        hanging(0);
        assert_eq!(first.join().unwrap(), Flush::Failed);
        store.let_go();
        assert_eq!(second.join().unwrap(), Flush::Failed);
    });
    store.fail(None);
    assert!(usage.flush(TEST_TIMEOUT));
    assert_eq!(store.count(), 1);
}

// F11
#[test]
fn the_end_writes_the_remaining_usage_and_drops_the_store() {
    let (store, usage) = start(LONG, LONG);
    usage.note(&key(1), MonotonicTime::now(), HERE.into());
    assert!(usage.end(TEST_TIMEOUT));
    assert_eq!(store.count(), 1);
    assert!(usage.end(TEST_TIMEOUT), "the thread has ended");
    usage.note(&key(2), MonotonicTime::now(), HERE.into());
    assert!(!usage.end(TEST_TIMEOUT), "the use came after the end");
    drop(usage);
    until(|| Arc::strong_count(&store) == 1);
}

// F11
// At the end, a failed write is not repeated.
#[test]
fn the_end_does_not_wait_for_a_hanging_store() {
    const WITHIN: Duration = Duration::from_secs(2);
    let (store, usage) = start(LONG, LONG);
    store.fail(Some(|_| true));
    usage.note(&key(1), MonotonicTime::now(), HERE.into());
    let began = Instant::now();
    assert!(!usage.end(WITHIN));
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());

    let (store, usage) = start(LONG, LONG);
    store.hang();
    usage.note(&key(1), MonotonicTime::now(), HERE.into());
    let began = Instant::now();
    assert!(!usage.end(WITHIN));
    let took = began.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "{took:?}");
    store.let_go();
    until(|| store.count() == 1);
}

// F11
#[test]
fn of_many_threads_that_use_many_keys_every_use_is_written_once() {
    let (store, usage) = start(Duration::from_millis(1), LONG);
    let keys: Vec<_> = (0..50).map(key).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..20_000 {
                    usage.note(&keys[number % keys.len()], MonotonicTime::now(), HERE.into());
                }
            });
        }
    });
    assert!(usage.flush(TEST_TIMEOUT));
    let recorded = store.recorded();
    assert_eq!(recorded.len(), 50);
    assert!(recorded.values().all(|uses| uses.count == 4 * 400), "{recorded:?}");
}
