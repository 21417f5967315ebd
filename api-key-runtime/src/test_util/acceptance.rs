//! The suite that every store must pass.
#![allow(clippy::panic, reason = "a suite of tests fails by panicking")]

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::{AllowedIps, ChangeCursor, Changes, KeyDigest, KeyRecord, KeyStore, ScopeSet};

/// A store under test, and how keys get into it: by the means of its own table.
pub trait StoreFactory {
    /// The store, empty at first.
    fn store(&self) -> &dyn KeyStore;

    /// Puts a record with a digest that is new to the table, and answers the id it got. The record's own id means nothing.
    fn insert(&self, record: &KeyRecord) -> i64;

    /// Revokes the key of this id at this time.
    fn revoke(&self, id: i64, at: DateTime<Utc>);
}

/// Runs what look-ups ask of a [`KeyStore`] against an empty store; what it must tell of its changes, where it tells of them at all.
///
/// Recorded uses are not among it: no answer depends on them, and each application keeps them as it likes.
///
/// # Panics
/// Where the store does otherwise; the message says what was expected.
pub fn acceptance_suite(subject: &impl StoreFactory) {
    an_empty_store_knows_nothing(subject);
    every_column_comes_back(subject);
    only_the_very_digest_is_found(subject);
    many_are_found_at_once(subject);
    a_revocation_is_seen_by_the_next_look_up(subject);
    look_ups_run_side_by_side(subject);
    if changes(subject, None).is_some() {
        every_change_that_was_complete_is_told(subject);
        to_an_unknown_cursor_everything_has_changed(subject);
        changes_are_told_from_every_cursor(subject);
        waiting_ends_in_time(subject);
    }
}

fn find(subject: &impl StoreFactory, digests: &[KeyDigest]) -> Vec<KeyRecord> {
    subject.store().find(digests).unwrap_or_else(|error| panic!("the store failed: {error}"))
}

/// What the store tells, where it tells anything.
fn changes(subject: &impl StoreFactory, since: Option<&ChangeCursor>) -> Option<Changes> {
    subject.store().changes(since).unwrap_or_else(|error| panic!("the store failed: {error}"))
}

/// Up to where the store has told its changes.
fn up_to_date(subject: &impl StoreFactory) -> ChangeCursor {
    match changes(subject, None) {
        Some(changes) => changes.cursor().clone(),
        None => panic!("a store that has told its changes once tells none any more"),
    }
}

/// Asks what has changed, which has to be these keys at least, and answers the next cursor.
fn told(
    subject: &impl StoreFactory,
    since: &ChangeCursor,
    expected: &[KeyDigest],
    what: &str,
) -> ChangeCursor {
    let Some(changes) = changes(subject, Some(since)) else {
        panic!("a store that has told its changes once tells none any more");
    };
    if let Some(told) = changes.digests() {
        for digest in expected {
            assert!(told.contains(digest), "{what}: the key is not named");
        }
    }
    changes.cursor().clone()
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

fn an_empty_store_knows_nothing(subject: &impl StoreFactory) {
    assert!(find(subject, &[]).is_empty(), "nothing asked, something answered");
    assert!(find(subject, &[digest(1, 0)]).is_empty(), "an empty store answered a record");
}

fn every_column_comes_back(subject: &impl StoreFactory) {
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
        .unwrap_or_else(|found| panic!("not one record: {found:?}"));
    assert_eq!(found.id, id, "id");
    assert_eq!(found.digest, record.digest, "digest");
    assert_eq!(found.digest_algorithm, record.digest_algorithm, "digest_algorithm");
    assert_eq!(
        (found.hint, found.name, found.owner),
        (record.hint, record.name, record.owner),
        "hint, name, owner"
    );
    assert_eq!(
        (found.allowed_ips, found.scopes),
        (record.allowed_ips, record.scopes),
        "allowed_ips, scopes"
    );
    assert_eq!(found.created_at, record.created_at, "created_at, to the microsecond");
    assert_eq!(
        (found.expires_at, found.disabled_at),
        (record.expires_at, record.disabled_at),
        "to the microsecond"
    );
    assert_eq!((found.revoked_at, found.replaced_by), (None, None), "revoked_at, replaced_by");
}

fn only_the_very_digest_is_found(subject: &impl StoreFactory) {
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
    // As many unknown ones among them, which must not get in the way.
    let asked: Vec<KeyDigest> =
        stored.iter().copied().chain((0..256).map(|number| digest(5, number))).collect();
    let found: HashSet<i64> = find(subject, &asked).iter().map(|record| record.id).collect();
    assert_eq!(found, ids, "512 asked for, of which 256 are there");
}

fn a_revocation_is_seen_by_the_next_look_up(subject: &impl StoreFactory) {
    let at = DateTime::from_timestamp_micros(1_900_000_000_654_321).unwrap_or_default();
    let revoked = digest(6, 0);
    let id = subject.insert(&plain(revoked));
    assert_eq!(
        find(subject, &[revoked]).first().map(|record| record.revoked_at),
        Some(None),
        "active at first"
    );
    subject.revoke(id, at);
    assert_eq!(
        find(subject, &[revoked]).first().map(|record| record.revoked_at),
        Some(Some(at)),
        "then revoked"
    );
}

fn look_ups_run_side_by_side(subject: &impl StoreFactory) {
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
                        "found by eight threads at once"
                    );
                }
            });
        }
    });
}

fn every_change_that_was_complete_is_told(subject: &impl StoreFactory) {
    let at = DateTime::from_timestamp_micros(1_900_000_000_000_000).unwrap_or_default();
    let (one, other) = (digest(9, 0), digest(9, 1));
    let mut cursor = up_to_date(subject);
    // So that not everything counts as changed because it is the first time.
    cursor = told(subject, &cursor, &[], "nothing");
    let id = subject.insert(&plain(one));
    cursor = told(subject, &cursor, &[one], "inserted");
    subject.insert(&plain(other));
    subject.revoke(id, at);
    cursor = told(subject, &cursor, &[one, other], "revoked, and another inserted");
    told(subject, &cursor, &[], "nothing");
}

fn to_an_unknown_cursor_everything_has_changed(subject: &impl StoreFactory) {
    for text in ["", "\0", "no cursor of anyone's", "1 1 1 1", "-1", "99999999999999999999"] {
        let unknown = ChangeCursor::new(text);
        let all = changes(subject, Some(&unknown)).is_some_and(|told| told.digests().is_none());
        assert!(all, "not everything has changed since {text:?}");
    }
}

fn changes_are_told_from_every_cursor(subject: &impl StoreFactory) {
    let first = up_to_date(subject);
    let first = told(subject, &first, &[], "nothing");
    let one = digest(10, 0);
    subject.insert(&plain(one));
    let second = told(subject, &first, &[one], "inserted");
    let other = digest(10, 1);
    subject.insert(&plain(other));
    told(subject, &second, &[other], "the later one");
    // The answer to a call that was given up is never read, and the next call has the cursor of before.
    told(subject, &first, &[one, other], "from an older cursor");
}

fn waiting_ends_in_time(subject: &impl StoreFactory) {
    let cursor = up_to_date(subject);
    told(subject, &cursor, &[], "nothing");
    let began = Instant::now();
    subject.store().wait_for_change(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for longer than it was told to");
}
