//! Changes of a key: exactly the named fields, in one transaction.

use std::{thread, time::Duration};

use api_key_runtime::{
    Error, ScopeSet,
    admin::{Admin, KeyChanges, KeyRecord, NewKey},
};
use chrono::TimeDelta;

use crate::support::{Database, database_test};

fn issued(database: &Database) -> (Admin, KeyRecord) {
    let admin = database.migrate().admin();
    let new = NewKey::new("billing")
        .allow("10.0.0.0/8 192.0.2.7")
        .unwrap()
        .scopes("cakes:read cakes:write")
        .unwrap()
        .owner("ada")
        .expires_in(Duration::from_secs(3600));
    let record = admin.issue(&new).unwrap().record;
    (admin, record)
}

// I1
database_test!(only_the_named_fields_change, |database: Database| {
    type Change = fn(KeyChanges) -> KeyChanges;
    type Expected = fn(&mut KeyRecord);
    let cases: &[(Change, Expected)] = &[
        (|changes| changes, |_| {}),
        (|changes| changes.name("shop"), |record| record.name = "shop".into()),
        (|changes| changes.owner("bob"), |record| record.owner = Some("bob".into())),
        (KeyChanges::no_owner, |record| record.owner = None),
        (
            |changes| changes.allowed_ips("0.0.0.0").unwrap(),
            |record| record.allowed_ips = "0.0.0.0".parse().unwrap(),
        ),
        (
            |changes| {
                let changes = changes.add_allowed_ips("2001:db8::/32 192.0.2.7").unwrap();
                changes.remove_allowed_ips("10.0.0.0/8").unwrap()
            },
            |record| record.allowed_ips = "192.0.2.7 2001:db8::/32".parse().unwrap(),
        ),
        (
            |changes| changes.scopes("menu:read").unwrap(),
            |record| record.scopes = "menu:read".parse().unwrap(),
        ),
        (|changes| changes.scopes("").unwrap(), |record| record.scopes = ScopeSet::default()),
        (
            |changes| {
                let changes = changes.add_scopes("menu:read").unwrap();
                changes.remove_scopes("cakes:write").unwrap()
            },
            |record| record.scopes = "cakes:read menu:read".parse().unwrap(),
        ),
        (KeyChanges::never_expires, |record| record.expires_at = None),
        (
            |changes| changes.expires_at("2400-01-31T12:00:00Z".parse().unwrap()),
            |record| record.expires_at = Some("2400-01-31T12:00:00Z".parse().unwrap()),
        ),
    ];
    let (admin, mut record) = issued(&database);
    for (number, (change, expected)) in cases.iter().enumerate() {
        let (id, before) = (record.id, record.clone());
        let changes = change(KeyChanges::new());
        expected(&mut record);
        assert_eq!(changes.apply(&before, admin.now()).unwrap(), record, "case {number}");
        assert_eq!(admin.get(id).unwrap(), before, "nothing was written yet");
        let updated = admin.update(id, &changes).unwrap();
        assert_eq!((&updated.before, &updated.after), (&before, &record), "case {number}");
        assert_eq!(admin.get(id).unwrap(), record);
        // Each case begins with a new key that has the same settings.
        (_, record) = issued(&database);
    }
});

// I1
database_test!(a_change_that_makes_no_valid_key_changes_nothing, |database: Database| {
    type Change = fn(KeyChanges) -> KeyChanges;
    let (admin, record) = issued(&database);
    let wrong: &[(Change, &str)] = &[
        (|changes| changes.name(" "), "invalid name"),
        (|changes| changes.owner("\0"), "invalid owner"),
        (
            |changes| changes.remove_allowed_ips("10.0.0.0/8 192.0.2.7").unwrap(),
            "IP allow list of the key is empty",
        ),
        (|changes| changes.remove_allowed_ips("10.0.0.1").unwrap(), "cannot remove 10.0.0.1"),
        (|changes| changes.remove_scopes("menu:read").unwrap(), "cannot remove menu:read"),
        (|changes| changes.expires_in(Duration::ZERO), "not in the future"),
        (|changes| changes.expires_in(Duration::MAX), "after the year 9999"),
        (
            |changes| changes.allowed_ips("0.0.0.0").unwrap().add_allowed_ips("10.0.0.1").unwrap(),
            "from any IP address",
        ),
    ];
    for (change, message) in wrong {
        let error = admin.update(record.id, &change(KeyChanges::new())).unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(message), "{error}");
    }
    let rename = KeyChanges::new().name("other");
    assert!(admin.update(record.id + 1, &rename).unwrap_err().is_not_found());
    assert_eq!(admin.get(record.id).unwrap(), record);
    admin.disable(record.id).unwrap();
    assert_eq!(admin.update(record.id, &rename).unwrap().after.name, "other");
    let revoked = admin.revoke(record.id).unwrap();
    let error: Error = admin.update(record.id, &KeyChanges::new().name("again")).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_eq!(admin.get(record.id).unwrap(), revoked);
});

// I1
// Before the change, the key is accepted from no address. Without the other entry, `0.0.0.0` would
// allow every address.
database_test!(an_unreadable_allow_list_can_only_be_replaced, |database: Database| {
    let (admin, record) = issued(&database);
    for list in ["0.0.0.0 10.0.0.1", "10.0.0.1  192.0.2.0/24", "10.0.0.1 192.0.2.7 "] {
        database.set(record.id, &format!("allowed_ips = '{list}'"));
        for change in [
            KeyChanges::new().remove_allowed_ips("10.0.0.1").unwrap(),
            KeyChanges::new().add_allowed_ips("192.0.2.8").unwrap(),
            KeyChanges::new().add_allowed_ips("0.0.0.0").unwrap(),
            // The message does not advise to choose one of the entries of the list.
            KeyChanges::new().remove_allowed_ips("192.0.2.9").unwrap(),
        ] {
            let error = admin.update(record.id, &change).unwrap_err();
            assert!(error.to_string().contains("empty or unreadable"), "{list}: {error}");
        }
        let renamed = admin.update(record.id, &KeyChanges::new().name("other")).unwrap();
        assert_eq!(renamed.after.allowed_ips.as_str(), list);
    }
    database.set(record.id, "allowed_ips = ''");
    for change in [
        KeyChanges::new().add_allowed_ips("192.0.2.8").unwrap(),
        KeyChanges::new().allowed_ips("192.0.2.8").unwrap(),
    ] {
        let updated = admin.update(record.id, &change).unwrap();
        assert_eq!(updated.after.allowed_ips.as_str(), "192.0.2.8");
    }
});

// I1
database_test!(changes_at_once_follow_each_other, |database: Database| {
    let (admin, record) = issued(&database);
    thread::scope(|scope| {
        for part in 0..8 {
            let (admin, id) = (&admin, record.id);
            scope.spawn(move || {
                let changes = KeyChanges::new().add_scopes(format!("part:{part}")).unwrap();
                admin.update(id, &changes).unwrap();
            });
        }
    });
    assert_eq!(admin.get(record.id).unwrap().scopes.len(), 2 + 8);
});

// I1, E6
database_test!(an_expired_key_can_be_extended, |database: Database| {
    let (admin, record) = issued(&database);
    database.execute("UPDATE api_keys SET expires_at = '2020-01-01 00:00:00+00:00'").unwrap();
    let updated = admin.update(record.id, &KeyChanges::new().expires_in(Duration::from_secs(60)));
    let after = updated.unwrap().after;
    assert!(after.expires_at.unwrap() > admin.now() + TimeDelta::seconds(30));
});
