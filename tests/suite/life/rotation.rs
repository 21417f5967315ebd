//! Rotation: a new key replaces an old one, and both work until the overlap ends.

use std::{
    sync::{Mutex, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::admin::{KeyChanges, KeyState, NewKey};
use chrono::TimeDelta;

use crate::support::{
    Database, Server, database_test, guarded_routes, http,
    load::{Sample, Stopping, steady, with_key},
    refused_in_time,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

// I2
database_test!(a_rotation_issues_a_key_with_the_same_settings, |database: Database| {
    let admin = database.migrate().admin();
    let new = NewKey::new("billing")
        .allow("10.0.0.0/8")
        .unwrap()
        .scopes("cakes:read")
        .unwrap()
        .owner("ada")
        .expires_in(90 * DAY);
    let before = admin.issue(&new).unwrap().record;
    let rotated = admin.rotate(before.id, DAY).unwrap();
    let after = &rotated.issued.record;
    assert_eq!(
        (&after.name, &after.owner, &after.allowed_ips, &after.scopes),
        (&before.name, &before.owner, &before.allowed_ips, &before.scopes)
    );
    assert_eq!(
        after.expires_at.unwrap() - after.created_at,
        before.expires_at.unwrap() - before.created_at,
        "the lifetime is the same"
    );
    assert_eq!(admin.get(after.id).unwrap(), *after);
    let old = admin.get(before.id).unwrap();
    assert_eq!(old, rotated.old);
    assert_eq!(old.replaced_by, Some(after.id));
    let overlap = old.expires_at.unwrap() - after.created_at;
    assert_eq!(overlap, TimeDelta::days(1));
    let secret = rotated.issued.secret.expose_secret();
    assert_eq!(admin.find_by_secret(secret).unwrap().unwrap().id, after.id);
});

// I2
database_test!(a_rotation_without_overlap_leaves_only_the_new_key, |database: Database| {
    let admin = database.migrate().admin();
    let (_, id) = database.issue("0.0.0.0");
    let rotated = admin.rotate(id, Duration::ZERO).unwrap();
    assert_eq!(rotated.old.state(admin.now()), KeyState::Revoked);
    assert_eq!(rotated.issued.record.state(admin.now()), KeyState::Active);
    let again = admin.rotate(id, DAY).unwrap_err();
    assert!(again.is_conflict(), "{again}");
});

// I2
database_test!(a_refused_rotation_issues_no_key, |database: Database| {
    let admin = database.migrate().admin();
    let (_, id) = database.issue("0.0.0.0");
    admin.rotate(id, DAY).unwrap();
    let rows = database.rows().len();
    assert!(admin.rotate(id, DAY).unwrap_err().is_conflict(), "rotating twice");
    let (_, disabled) = database.issue("0.0.0.0");
    admin.disable(disabled).unwrap();
    assert!(admin.rotate(disabled, DAY).unwrap_err().is_conflict(), "a disabled key");
    assert!(admin.rotate(9999, DAY).unwrap_err().is_not_found());
    assert_eq!(database.rows().len(), rows + 1, "only the disabled key was added");
});

// A11
database_test!(the_end_of_an_overlap_can_be_moved, |database: Database| {
    let admin = database.migrate().admin();
    let (_, id) = database.issue("0.0.0.0");
    admin.rotate(id, DAY).unwrap();
    let changes = KeyChanges::new().expires_in(Duration::from_secs(3600));
    let moved = admin.update(id, &changes).unwrap();
    assert!(moved.after.expires_at < moved.before.expires_at);
    assert_eq!(admin.revoke(id).unwrap().state(admin.now()), KeyState::Revoked);
});

/// A11, I2: The clients of two services change from the old key to the new one during the overlap.
/// One client keeps the old key, which both services reject once the overlap has ended.
mod no_request_is_rejected_during_an_overlap {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(3);
    const EVERY: Duration = Duration::from_millis(5);

    database_test!(under_load, |database: Database| {
        let admin = database.migrate().admin();
        let (old, id) = database.issue("0.0.0.0");
        let services =
            [(); 2].map(|()| Server::start(database.builder().build().unwrap(), guarded_routes));
        let in_use = Mutex::new(old.clone());
        let stop = AtomicBool::new(false);
        let (samples, end) = thread::scope(|scope| {
            let stopping = Stopping(&stop);
            let senders = services.each_ref().map(|service| {
                let (in_use, stop) = (&in_use, &stop);
                scope.spawn(move || {
                    steady(service.address, EVERY, stop, || with_key(&in_use.lock().unwrap()))
                })
            });
            thread::sleep(Duration::from_millis(500));
            let rotated = admin.rotate(id, OVERLAP).unwrap();
            let left = rotated.old.expires_at.unwrap() - admin.now();
            let end = Instant::now() + left.to_std().unwrap();
            thread::sleep(Duration::from_secs(1));
            *in_use.lock().unwrap() = rotated.issued.secret.expose_secret().to_owned();
            thread::sleep(Duration::from_secs(1));
            for service in &services {
                let late = http::get_with(service.address, "/guarded", &old);
                assert!(Instant::now() >= end || late.status == 200, "the old key still works");
            }
            thread::sleep(end.saturating_duration_since(Instant::now()) + EVERY);
            drop(stopping);
            (senders.map(|sender| sender.join().unwrap()).concat(), end)
        });
        let rejected: Vec<&Sample> = samples.iter().filter(|sample| sample.status != 200).collect();
        println!("{} requests during the rotation, {} rejected", samples.len(), rejected.len());
        assert!(samples.len() > 100 && rejected.is_empty(), "{rejected:?}");
        for service in &services {
            refused_in_time("after the overlap", end, 401, || {
                http::get_with(service.address, "/guarded", &old).status
            });
        }
    });
}
