//! Stores whose feeds hang, break their contract or fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    allowed_ips::AllowedIps,
    cache::{Bounds, Cached},
    key::KeyDigest,
    key_record::KeyRecord,
};

/// A store whose first call of `watch` hangs until the end of the test. All other calls return.
#[derive(Default)]
struct Stuck {
    asked: AtomicUsize,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl KeyStore for Stuck {
    fn find(&self, _: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            let is_over = self.is_over.lock().unwrap();
            drop(self.over.wait_while(is_over, |over| !*over).unwrap());
        }
        Ok(Some(Box::new(Idle)))
    }
}

struct Idle;

impl ChangeFeed for Idle {
    fn changes(&mut self) -> Result<Changes, StoreError> {
        Ok(Changes::new(Changed::Everything))
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        thread::sleep(at_most);
        Ok(())
    }
}

// E7
#[test]
fn a_round_that_never_ends_renews_nothing_and_is_replaced() {
    let bounds = Bounds { max_staleness: Duration::from_secs(1), stale_if_error: Duration::ZERO };
    let cache = Arc::new(Cache::new(bounds, 16, false));
    let stuck = Arc::new(Stuck::default());
    let began = MonotonicTime::now();
    let feed = FeedThread::start(
        Arc::<Stuck>::clone(&stuck),
        Arc::clone(&cache),
        Arc::new(CircuitBreaker::new(Duration::from_secs(1))),
        Duration::from_secs(1),
        Clock::default(),
        Workers::default(),
    )
    .unwrap();
    let asked = || stuck.asked.load(Ordering::SeqCst);
    let seconds = |since: MonotonicTime| MonotonicTime::now().since(since).as_secs();
    while asked() < 2 {
        feed.replace_hung_thread().unwrap();
        let lease = cache.lease();
        if asked() < 2 {
            assert_eq!(lease, MonotonicTime::START, "no call has returned yet");
            assert!(seconds(began) < 60, "the hung thread is not replaced");
        }
        thread::sleep(Duration::from_millis(10));
    }
    while cache.lease() == MonotonicTime::START {
        assert!(seconds(began) < 60, "the new thread does not renew the lease");
        thread::sleep(Duration::from_millis(10));
    }
    *stuck.is_over.lock().unwrap() = true;
    stuck.over.notify_all();
    drop(feed);
}

/// A store whose feeds break their contract: even their first read reports that nothing changed.
#[derive(Default)]
struct Silent {
    opened: AtomicUsize,
    waits_fail: bool,
}

impl KeyStore for Silent {
    fn find(&self, _: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(Vec::new())
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Some(Box::new(SilentFeed { waits_fail: self.waits_fail })))
    }
}

struct SilentFeed {
    waits_fail: bool,
}

impl ChangeFeed for SilentFeed {
    fn changes(&mut self) -> Result<Changes, StoreError> {
        Ok(Changes::new(Changed::Keys(Vec::new())))
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        if self.waits_fail {
            return Err(StoreError::new("cannot wait"));
        }
        thread::sleep(at_most);
        Ok(())
    }
}

fn follow(store: &Arc<Silent>, cache: &Arc<Cache>) -> FeedThread {
    FeedThread::start(
        Arc::<Silent>::clone(store),
        Arc::clone(cache),
        Arc::new(CircuitBreaker::new(Duration::from_secs(1))),
        Duration::from_secs(1),
        Clock::default(),
        Workers::default(),
    )
    .unwrap()
}

fn new_cache(max_staleness: Duration) -> Arc<Cache> {
    let bounds = Bounds { max_staleness, stale_if_error: Duration::ZERO };
    Arc::new(Cache::new(bounds, 16, false))
}

// E7
// A new feed cannot report what changed before the feed was opened. Even if its first read reports
// no change, the entries of the cache must become stale.
#[test]
fn a_new_feed_empties_the_cache_whatever_it_reports() {
    let (store, cache) = (Arc::new(Silent::default()), new_cache(Duration::from_secs(60)));
    let digest = KeyDigest::from_bytes([1; 32]);
    let now = MonotonicTime::now();
    let record = KeyRecord::new(1, digest, AllowedIps::any());
    cache.fill(cache.stamp(now), vec![(digest, Some(record))], now);
    let is_hit = || matches!(cache.view().get(&digest), Cached::Hit(_));
    assert!(is_hit());
    let feed = follow(&store, &cache);
    while cache.lease() == MonotonicTime::START {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!is_hit());
    drop(feed);
}

// E7
// Each new feed makes every cache entry stale, so a feed that cannot wait must not be opened again
// at once.
#[test]
fn feeds_whose_waits_fail_are_opened_at_growing_pauses() {
    let store = Arc::new(Silent { waits_fail: true, ..Silent::default() });
    let feed = follow(&store, &new_cache(Duration::from_secs(60)));
    thread::sleep(Duration::from_millis(800));
    let opened = store.opened.load(Ordering::SeqCst);
    // The pauses last 20, 40, 80, 160 and then 250 ms each. If every pause lasted 20 ms, the test
    // would count about forty feeds.
    assert!((2..=7).contains(&opened), "{opened} feeds");
    drop(feed);
}

// E7
// With this `max_staleness`, the pauses after failures do not grow.
#[test]
fn failing_waits_are_logged_with_any_max_staleness() {
    let store = Arc::new(Silent { waits_fail: true, ..Silent::default() });
    let feed = follow(&store, &new_cache(Duration::from_millis(40)));
    let began = MonotonicTime::now();
    while store.opened.load(Ordering::SeqCst) < 4 {
        assert!(MonotonicTime::now().since(began).as_secs() < 60, "no feed is opened again");
        thread::sleep(Duration::from_millis(1));
    }
    let is_first = feed.shared.wait_outage.begins(MonotonicTime::now());
    assert!(!is_first, "the failures of the first feeds were not logged");
    drop(feed);
}
