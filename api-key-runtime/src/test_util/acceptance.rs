//! The acceptance suite, which every store must pass.
#![allow(clippy::panic, reason = "a test suite fails by panicking")]

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::{
    allowed_ips::AllowedIps,
    key::KeyDigest,
    key_record::KeyRecord,
    scope::ScopeSet,
    store::{ChangeFeed, Changed, KeyStore},
};

/// A factory for the store under test. The factory inserts and revokes keys directly in the table
/// of the store.
pub trait StoreFactory {
    /// Returns the store, which is empty at first.
    fn store(&self) -> &dyn KeyStore;

    /// Inserts a record with a digest that is not in the table yet, and returns the new id of the
    /// record. The `id` field of the record is ignored.
    fn insert(&self, record: &KeyRecord) -> i64;

    /// Revokes the key with this id at this time.
    fn revoke(&self, id: i64, at: DateTime<Utc>);
}

/// Tests the lookups of a [`KeyStore`], which must be empty at first. If the store reports changes,
/// tests its change feed too.
///
/// Usage recording is not tested: no decision depends on usage, and each application may store
/// usage in its own way.
///
/// # Panics
/// Panics if the store does not behave as required. The message states the expected behavior.
pub fn acceptance_suite(subject: &impl StoreFactory) {
    an_empty_store_has_no_keys(subject);
    every_column_is_returned(subject);
    only_the_exact_digest_is_found(subject);
    many_are_found_at_once(subject);
    a_revocation_is_seen_by_the_next_lookup(subject);
    lookups_run_concurrently(subject);
    if watch(subject).is_some() {
        committed_changes_are_reported(subject);
        each_feed_begins_with_everything(subject);
        waiting_ends_in_time(subject);
    }
}

fn find(subject: &impl StoreFactory, digests: &[KeyDigest]) -> Vec<KeyRecord> {
    subject.store().find(digests).unwrap_or_else(|error| panic!("the store failed: {error}"))
}

fn watch(subject: &impl StoreFactory) -> Option<Box<dyn ChangeFeed>> {
    subject.store().watch().unwrap_or_else(|error| panic!("the store failed: {error}"))
}

fn read(feed: &mut dyn ChangeFeed) -> Changed {
    feed.changes().unwrap_or_else(|error| panic!("the feed failed: {error}")).changed
}

/// Returns a feed after its first read.
fn up_to_date(subject: &impl StoreFactory) -> Box<dyn ChangeFeed> {
    let Some(mut feed) = watch(subject) else {
        panic!("`watch` returned a feed before, but not now; it must return a feed every time");
    };
    assert_eq!(
        read(&mut *feed),
        Changed::Everything,
        "the first read of a feed must be `Everything`"
    );
    feed
}

/// Reads the changes, which must include at least these keys.
fn expect_changes(feed: &mut dyn ChangeFeed, expected: &[KeyDigest], what: &str) {
    if let Changed::Keys(reported) = read(feed) {
        for digest in expected {
            assert!(reported.contains(digest), "{what}: the change of a key was not reported");
        }
    }
}

fn digest(kind: u8, number: u16) -> KeyDigest {
    let [high, low] = number.to_be_bytes();
    let mut bytes = [kind; 32];
    let [.., before_last, last] = &mut bytes;
    (*before_last, *last) = (high, low);
    KeyDigest::from_bytes(bytes)
}

fn plain(digest: KeyDigest) -> KeyRecord {
    let mut record = KeyRecord::new(0, digest, AllowedIps::any());
    record.name = "acceptance".into();
    record.hint = "ak_live_Abcd".into();
    record
}

fn an_empty_store_has_no_keys(subject: &impl StoreFactory) {
    assert!(find(subject, &[]).is_empty(), "a lookup without digests returned a record");
    assert!(find(subject, &[digest(1, 0)]).is_empty(), "an empty store returned a record");
}

fn every_column_is_returned(subject: &impl StoreFactory) {
    // A store must keep the microseconds.
    let moment = DateTime::from_timestamp_micros(1_900_000_000_123_456).unwrap_or_default();
    let mut record = plain(digest(2, 0));
    record.name = "\u{43a}\u{43b}\u{44e}\u{447} \u{1f511}".into();
    record.owner = Some("user 17".to_owned());
    record.allowed_ips = AllowedIps::from_stored("10.0.0.0/8 2001:db8::1");
    record.scopes = ScopeSet::from_stored("cakes:read cakes:write");
    record.created_at = moment;
    record.expires_at = Some(moment);
    record.disabled_at = Some(moment);
    let id = subject.insert(&record);
    let [found] = find(subject, &[record.digest])
        .try_into()
        .unwrap_or_else(|found| panic!("expected exactly one record, found {found:?}"));
    record.id = id;
    assert_eq!(found, record);
}

fn only_the_exact_digest_is_found(subject: &impl StoreFactory) {
    let stored = digest(3, 0);
    subject.insert(&plain(stored));
    for position in 0..32 {
        let mut bytes = *stored.as_bytes();
        if let Some(byte) = bytes.get_mut(position) {
            *byte ^= 1;
        }
        assert!(
            find(subject, &[KeyDigest::from_bytes(bytes)]).is_empty(),
            "a digest that differs at byte {position} was found"
        );
    }
}

fn many_are_found_at_once(subject: &impl StoreFactory) {
    let stored: Vec<KeyDigest> = (0..256).map(|number| digest(4, number)).collect();
    let ids: HashSet<i64> = stored.iter().map(|&digest| subject.insert(&plain(digest))).collect();
    assert_eq!(ids.len(), stored.len(), "ids are not unique");
    // Half of the digests are unknown and must not affect the result.
    let asked: Vec<KeyDigest> =
        stored.iter().copied().chain((0..256).map(|number| digest(5, number))).collect();
    let found: HashSet<i64> = find(subject, &asked).iter().map(|record| record.id).collect();
    assert_eq!(found, ids, "a lookup of 512 digests must find exactly the 256 stored keys");
}

fn a_revocation_is_seen_by_the_next_lookup(subject: &impl StoreFactory) {
    let at = DateTime::from_timestamp_micros(1_900_000_000_654_321).unwrap_or_default();
    let revoked = digest(6, 0);
    let id = subject.insert(&plain(revoked));
    assert_eq!(
        find(subject, &[revoked]).first().map(|record| record.revoked_at),
        Some(None),
        "a new key must not be revoked"
    );
    subject.revoke(id, at);
    assert_eq!(
        find(subject, &[revoked]).first().map(|record| record.revoked_at),
        Some(Some(at)),
        "a revoked key must have its revocation time"
    );
}

fn lookups_run_concurrently(subject: &impl StoreFactory) {
    let known = digest(7, 0);
    let id = subject.insert(&plain(known));
    let store = subject.store();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let found = store
                        .find(&[known, digest(8, 0)])
                        .unwrap_or_else(|error| panic!("the store failed: {error}"));
                    assert_eq!(
                        found.iter().map(|record| record.id).collect::<Vec<_>>(),
                        [id],
                        "each of eight concurrent threads must find the key"
                    );
                }
            });
        }
    });
}

fn committed_changes_are_reported(subject: &impl StoreFactory) {
    let at = DateTime::from_timestamp_micros(1_900_000_000_000_000).unwrap_or_default();
    let (one, other) = (digest(9, 0), digest(9, 1));
    let mut feed = up_to_date(subject);
    expect_changes(&mut *feed, &[], "no change");
    let id = subject.insert(&plain(one));
    expect_changes(&mut *feed, &[one], "inserted");
    subject.insert(&plain(other));
    subject.revoke(id, at);
    expect_changes(&mut *feed, &[one, other], "revoked, and another inserted");
    expect_changes(&mut *feed, &[], "no change");
}

fn each_feed_begins_with_everything(subject: &impl StoreFactory) {
    let mut first = up_to_date(subject);
    let one = digest(10, 0);
    subject.insert(&plain(one));
    // A feed whose call hangs is replaced by a new feed. Both feeds may then exist at the same
    // time, and each must report all changes.
    let mut second = up_to_date(subject);
    let other = digest(10, 1);
    subject.insert(&plain(other));
    expect_changes(&mut *second, &[other], "in the second feed");
    expect_changes(&mut *first, &[one, other], "in the first feed");
}

fn waiting_ends_in_time(subject: &impl StoreFactory) {
    let mut feed = up_to_date(subject);
    expect_changes(&mut *feed, &[], "no change");
    let began = Instant::now();
    feed.wait(Duration::from_millis(50)).unwrap_or_else(|error| panic!("the feed failed: {error}"));
    assert!(began.elapsed() < Duration::from_secs(10), "`wait` must return within the given time");
}
