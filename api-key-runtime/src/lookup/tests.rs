//! Tests with a result that becomes outdated during its lookup, and with a record that has several
//! defects.

use super::*;
use crate::{
    allowed_ips::AllowedIps,
    cache::{Bounds, Cached},
    key::KeyDigest,
    key_record::KeyRecord,
    store::{Changed, StoreError},
};

/// A time far longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// A store with one key. It reads each result at once, but returns no result before `is_open` is
/// set.
#[derive(Default)]
struct Held {
    state: Mutex<HeldState>,
    changed: Condvar,
}

#[derive(Default)]
struct HeldState {
    is_open: bool,
    is_revoked: bool,
    asked: usize,
}

impl Held {
    fn set(&self, set: impl FnOnce(&mut HeldState)) {
        set(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait_until_asked(&self) {
        let state = self.state.lock().unwrap();
        let nobody = |state: &mut HeldState| state.asked == 0;
        drop(self.changed.wait_while(state, nobody).unwrap());
    }
}

impl KeyStore for Held {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let mut state = self.state.lock().unwrap();
        let mut record = KeyRecord::new(1, digests[0], AllowedIps::any());
        record.revoked_at = state.is_revoked.then_some(record.created_at);
        state.asked += 1;
        self.changed.notify_all();
        let is_closed = |state: &mut HeldState| !state.is_open;
        drop(self.changed.wait_while(state, is_closed).unwrap());
        Ok(vec![record])
    }
}

/// A store that returns two records for each digest, with unreadable allowed IPs.
struct Faulty;

impl KeyStore for Faulty {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let record = |digest: &KeyDigest| {
            KeyRecord::new(1, *digest, AllowedIps::from_stored("not an address"))
        };
        Ok(digests.iter().chain(digests).map(record).collect())
    }
}

fn start(store: impl KeyStore) -> (Lookups, Arc<Cache>) {
    let bounds = Bounds { max_staleness: LONG, stale_if_error: Duration::ZERO };
    let cache = Arc::new(Cache::new(bounds, 16, false));
    let circuit_breaker = Arc::new(CircuitBreaker::new(LONG));
    let lookups = Lookups::start(
        Arc::new(store),
        Digester::default(),
        Arc::clone(&cache),
        circuit_breaker,
        LONG,
        Workers::default(),
    );
    (lookups.unwrap(), cache)
}

#[test]
fn each_defect_of_a_record_is_logged_separately() {
    let (lookups, _) = start(Faulty);
    let asked = lookups.enqueue(
        Digester::default().digests("key"),
        Priority::Unknown,
        MonotonicTime::now(),
    );
    let answer = actix_web::rt::System::new().block_on(asked.unwrap());
    assert_eq!(answer.unwrap().unwrap_err(), Reason::Unavailable);
    let is_logged = |fault| !lookups.shared.logged.should_log((1, fault));
    assert!(!is_logged(Fault::OtherDigestAlgorithm));
    assert!(is_logged(Fault::UnreadableAllowedIps) && is_logged(Fault::TwoRecords));
}

// E1, E3
// If no later request joins, the result of the earlier lookup is not cached either.
#[test]
fn joining_after_a_change_requires_a_new_lookup() {
    for somebody_joins in [false, true] {
        let held = Arc::new(Held::default());
        let (lookups, cache) = start(Arc::clone(&held));
        let digests = Digester::default().digests("key");
        let ask = || {
            let asked = lookups.enqueue(digests, Priority::Unknown, MonotonicTime::now());
            asked.unwrap()
        };
        let is_revoked = |receiver: oneshot::Receiver<Answer>| {
            let answer = actix_web::rt::System::new().block_on(receiver);
            answer.unwrap().unwrap().unwrap().is_revoked()
        };
        let early = ask();
        held.wait_until_asked();
        held.set(|state| state.is_revoked = true);
        cache.apply(&Changed::Keys(vec![digests.current]));
        let late = somebody_joins.then(ask);
        held.set(|state| state.is_open = true);
        assert!(!is_revoked(early), "the request came before the change");
        if let Some(late) = late {
            assert!(is_revoked(late), "the request came after the change");
        } else {
            let probe = cache.view().get(&digests.current);
            assert!(matches!(probe, Cached::Miss), "{probe:?}");
        }
    }
}
