//! A store whose changes never come.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{cache::Bounds, key::KeyDigest, key_record::KeyRecord};

/// The first to ask waits until the end of the test, all others are answered.
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
    )
    .unwrap();
    let asked = || stuck.asked.load(Ordering::SeqCst);
    let seconds = |since: MonotonicTime| MonotonicTime::now().since(since).as_secs();
    while asked() < 2 {
        feed.replace_hung_thread().unwrap();
        let lease = cache.lease();
        if asked() < 2 {
            assert_eq!(lease, MonotonicTime::START, "nothing was answered yet");
            assert!(seconds(began) < 60, "nobody takes its place");
        }
        thread::sleep(Duration::from_millis(10));
    }
    while cache.lease() == MonotonicTime::START {
        assert!(seconds(began) < 60, "the other one renews");
        thread::sleep(Duration::from_millis(10));
    }
    *stuck.is_over.lock().unwrap() = true;
    stuck.over.notify_all();
    drop(feed);
}
