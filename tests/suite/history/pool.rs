//! The keys of a run, from which clients choose.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys,
    admin::{IssuedKey, NewKey},
    test_util::MemoryStore,
};

use super::event::Key;
use crate::support::{leaks, random::Random};

/// The number of recently changed keys, which are presented more often than other keys.
const RECENT: usize = 8;
/// The number of finished keys that clients may still present. Older keys are dropped.
const OVER: usize = 200;
/// How long expired keys are presented more often than other keys.
const JUST_EXPIRED: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    maker: AppKeys,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    made: Key,
    /// Keys that an operator will still issue, change or revoke.
    live: Vec<Shown>,
    recent: VecDeque<Shown>,
    /// Keys with an expiry, each with the time of that expiry.
    expiring: Vec<(Instant, Shown)>,
    over: VecDeque<Shown>,
    never_issued: Vec<Shown>,
}

/// A key as clients present it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) number: Key,
    pub(super) secret: String,
}

impl Pool {
    pub(super) fn new() -> Self {
        let pool = Self {
            maker: AppKeys::builder().store(MemoryStore::default()).build().unwrap(),
            keys: Mutex::default(),
        };
        for _ in 0..20 {
            let (shown, _) = pool.make();
            pool.lock().never_issued.push(shown);
        }
        pool
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap()
    }

    /// Makes a key that is not in any database yet.
    pub(super) fn make(&self) -> (Shown, IssuedKey) {
        let issued = self.maker.make_key(&NewKey::new("history").allow_any()).unwrap();
        leaks::watch(&issued);
        let mut keys = self.lock();
        keys.made += 1;
        let shown = Shown { number: keys.made, secret: issued.secret.expose_secret().to_owned() };
        (shown, issued)
    }

    /// Lets clients present this key from now on.
    pub(super) fn add(&self, key: &Shown) {
        self.lock().live.push(key.clone());
        self.attend_to(key);
    }

    /// Marks a key that is about to change, so that clients present the key more often.
    pub(super) fn attend_to(&self, key: &Shown) {
        let mut keys = self.lock();
        keys.recent.retain(|other| other != key);
        keys.recent.push_front(key.clone());
        keys.recent.truncate(RECENT);
    }

    /// Records that this key expires after this time.
    pub(super) fn expires_in(&self, key: &Shown, left: Duration) {
        self.lock().expiring.push((Instant::now() + left, key.clone()));
    }

    /// Marks a key that no operator changes any more.
    pub(super) fn is_over(&self, key: &Shown) {
        let mut keys = self.lock();
        keys.live.retain(|other| other != key);
        keys.over.push_front(key.clone());
        keys.over.truncate(OVER);
    }

    pub(super) fn choose(&self, random: &mut Random) -> Shown {
        let mut keys = self.lock();
        let now = Instant::now();
        keys.expiring.retain(|(end, _)| now < *end + JUST_EXPIRED);
        let expired: Vec<&Shown> =
            keys.expiring.iter().filter(|(end, _)| *end <= now).map(|(_, key)| key).collect();
        let (recent, live) = (keys.recent.iter().collect(), keys.live.iter().collect());
        let (over, never): (Vec<&Shown>, _) =
            (keys.over.iter().collect(), keys.never_issued.iter().collect());
        let of: Vec<&Shown> = match random.below(100) {
            0..20 if !expired.is_empty() => expired,
            0..50 if !keys.recent.is_empty() => recent,
            0..80 if !keys.live.is_empty() => live,
            0..93 if !keys.over.is_empty() => over,
            _ => never,
        };
        of[random.below(of.len())].clone()
    }

    /// Returns the keys that an operator will still issue, change or revoke.
    pub(super) fn live(&self) -> Vec<Shown> {
        self.lock().live.clone()
    }

    /// Returns keys that no server may accept: finished keys, and keys that were never issued.
    pub(super) fn some_bad(&self) -> Vec<Shown> {
        let keys = self.lock();
        let bad = keys.over.iter().take(10).chain(&keys.never_issued[..2]);
        bad.cloned().collect()
    }
}
