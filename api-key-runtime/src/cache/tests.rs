//! Tests of the freshness bounds, exact to the nanosecond, and of the bound on negative entries.

use super::*;
use crate::{allowed_ips::AllowedIps, key::Digester, key_record::KeyState};

const STALE_IF_ERROR: u64 = 5_000_000_000;
const MAX_STALENESS: u64 = 1_000_000_000;

fn at(nanos: u64) -> MonotonicTime {
    MonotonicTime::from_nanos(nanos)
}

/// Returns the digest of a number. The cache hashes a digest by its first eight bytes, so made-up
/// digests with equal first bytes would collide.
fn digest(number: u32) -> KeyDigest {
    Digester::default().digest(number.to_le_bytes())
}

fn cache(max_known: usize, stale_if_error: u64) -> Cache {
    let bounds = Bounds {
        max_staleness: Duration::from_nanos(MAX_STALENESS),
        stale_if_error: Duration::from_nanos(stale_if_error),
    };
    Cache::new(bounds, max_known, false)
}

/// Returns a cache with key 1. The query for the key was sent at 10 ns and answered at 500 ns.
fn knowing(stale_if_error: u64) -> Cache {
    let cache = cache(16, stale_if_error);
    let stamp = cache.stamp(at(10));
    let record = KeyRecord::new(1, digest(1), AllowedIps::any());
    cache.fill(stamp, vec![(digest(1), Some(record))], at(500));
    cache
}

fn is_known(cache: &Cache, now: u64) -> bool {
    matches!(cache.view_at(cache.lease(), at(now)).get(&digest(1)), Cached::Hit(_))
}

// E15
#[test]
fn an_entry_is_fresh_for_the_bound_after_query_or_lease() {
    let cache = knowing(0);
    assert!(is_known(&cache, 10 + MAX_STALENESS));
    assert!(!is_known(&cache, 11 + MAX_STALENESS));
    cache.renew(at(700));
    assert!(is_known(&cache, 700 + MAX_STALENESS));
    assert!(!is_known(&cache, 701 + MAX_STALENESS));
    cache.renew(at(600));
    assert!(is_known(&cache, 700 + MAX_STALENESS), "the lease does not go back");
    assert_eq!(cache.sizes(), (1, 0));
}

// E15
#[test]
fn a_negative_entry_is_fresh_for_as_long_as_a_key() {
    let cache = cache(16, STALE_IF_ERROR);
    cache.fill(cache.stamp(at(10)), vec![(digest(1), None)], at(500));
    let is_unknown = |now| {
        let probe = cache.view_at(cache.lease(), at(now)).get(&digest(1));
        assert!(matches!(probe, Cached::NegativeHit | Cached::Miss));
        matches!(probe, Cached::NegativeHit)
    };
    assert!(is_unknown(10 + MAX_STALENESS));
    assert!(!is_unknown(11 + MAX_STALENESS));
    cache.renew(at(700));
    assert!(is_unknown(700 + MAX_STALENESS));
    assert!(!is_unknown(701 + MAX_STALENESS));
    assert_eq!(cache.sizes(), (0, 1));
    cache.apply(&Changed::Everything);
    assert!(!is_unknown(701));
}

// F3
#[test]
fn stale_if_error_ends_to_the_nanosecond() {
    let cache = knowing(STALE_IF_ERROR);
    assert!(!is_known(&cache, 11 + MAX_STALENESS));
    let passes = |cache: &Cache, now| cache.stale_if_error(&digest(1), at(now)).is_some();
    assert!(passes(&cache, 10 + STALE_IF_ERROR));
    assert!(!passes(&cache, 11 + STALE_IF_ERROR));
    assert!(!passes(&knowing(0), 500), "off by default");
    cache.apply(&Changed::Everything);
    assert!(!passes(&cache, 500), "a key that may have changed is not accepted");
}

// E10
#[test]
fn negative_entries_are_bounded_and_evict_no_cached_key() {
    const KNOWN: u32 = 1000;
    let max = usize::try_from(KNOWN).unwrap();
    let cache = cache(max, 0);
    let fill = |numbers: std::ops::Range<u32>, is_known: bool| {
        let record =
            |number: u32| KeyRecord::new(i64::from(number), digest(number), AllowedIps::any());
        let found = numbers.map(|number| (digest(number), is_known.then(|| record(number))));
        cache.fill(cache.stamp(at(1)), found.collect(), at(2));
    };
    fill(0..KNOWN / 2, true);
    for number in 1..100 {
        fill(number * KNOWN..(number + 1) * KNOWN, false);
        assert!(cache.unknown.len() <= max, "{}", cache.unknown.len());
    }
    let is_known =
        |number| matches!(cache.view_at(at(1), at(2)).get(&digest(number)), Cached::Hit(_));
    assert!((0..KNOWN / 2).all(is_known));
}

// E1, E3, E10
// The entries are a cached key and a negative entry.
#[test]
fn a_change_drops_entries_and_discards_reads_in_flight() {
    let cache = knowing(STALE_IF_ERROR);
    let under_way = cache.stamp(at(20));
    let unknown = cache.stamp(at(20));
    cache.fill(unknown, vec![(digest(2), None)], at(21));
    assert!(matches!(cache.view_at(cache.lease(), at(30)).get(&digest(2)), Cached::NegativeHit));
    cache.apply(&Changed::Keys(vec![digest(1), digest(2)]));
    let is_nothing =
        |number| matches!(cache.view_at(cache.lease(), at(30)).get(&digest(number)), Cached::Miss);
    assert!(is_nothing(1) && is_nothing(2));
    assert!(cache.stale_if_error(&digest(1), at(30)).is_none());
    let record = KeyRecord::new(1, digest(1), AllowedIps::any());
    cache.fill(under_way, vec![(digest(1), Some(record))], at(30));
    assert!(is_nothing(1), "the read was sent before the change");
}

// E2, E4
// A revocation takes effect as soon as any read has seen it, even if a read that was sent later did
// not see it.
#[test]
fn the_later_read_wins_unless_the_earlier_saw_a_revocation() {
    let read = |cache: &Cache, stamp, change: fn(&mut KeyRecord)| {
        let mut record = KeyRecord::new(1, digest(1), AllowedIps::any());
        change(&mut record);
        let found = cache.fill(stamp, vec![(digest(1), Some(record))], at(30));
        let key = found.get(&digest(1)).unwrap().as_ref().unwrap();
        key.state(chrono::Utc::now)
    };
    let state = |cache: &Cache| match cache.view_at(cache.lease(), at(40)).get(&digest(1)) {
        Cached::Hit(key) => Some(key.state(chrono::Utc::now)),
        _ => None,
    };
    let cache = cache(16, 0);
    let (first, second) = (cache.stamp(at(10)), cache.stamp(at(20)));
    read(&cache, second, |record| {
        record.disabled_at = Some(record.created_at);
    });
    assert_eq!(state(&cache), Some(KeyState::Disabled));
    read(&cache, first, |_| {});
    assert_eq!(state(&cache), Some(KeyState::Disabled), "the other read was sent before");

    let cache = self::cache(16, 0);
    let (first, second) = (cache.stamp(at(10)), cache.stamp(at(20)));
    read(&cache, second, |_| {});
    assert_eq!(state(&cache), Some(KeyState::Active));
    let revoked: fn(&mut KeyRecord) = |record| record.revoked_at = Some(record.created_at);
    assert_eq!(read(&cache, first, revoked), KeyState::Revoked);
    assert_ne!(state(&cache), Some(KeyState::Active), "a read has seen the key revoked");
    assert!(!cache.permit(second, at(40)).still_holds(&digest(1)), "not delivered either");
    let third = cache.stamp(at(35));
    assert_eq!(read(&cache, third, |_| {}), KeyState::Revoked, "still revoked");

    let under_way = cache.stamp(at(36));
    read(&cache, cache.stamp(at(36)), revoked);
    assert!(
        cache.permit(under_way, at(40)).still_holds(&digest(1)),
        "the key was already known to be revoked, so this is not a change"
    );
}
