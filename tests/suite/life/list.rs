//! The listing of keys: filters and pages, both in the database.

use std::time::Duration;

use api_key_runtime::admin::{Admin, KeyState, ListKeys, NewKey};

use super::{DAY, ago};
use crate::support::{Database, database_test};

/// Returns the names of the selected keys.
fn names(admin: &Admin, wanted: &ListKeys) -> Vec<String> {
    admin.list(wanted).unwrap().into_iter().map(|record| record.name).collect()
}

/// Sets columns of the key with this name by SQL.
fn set(database: &Database, name: &str, columns: &str) {
    database.execute(&format!("UPDATE api_keys SET {columns} WHERE name = '{name}'")).unwrap();
}

// I5
database_test!(a_filter_by_address_compares_whole_entries, |database: Database| {
    let admin = database.admin();
    for (name, ips) in [
        ("any", "0.0.0.0"),
        ("every IPv4", "0.0.0.0/0"),
        ("one", "10.0.0.1"),
        ("longer", "10.0.0.10 110.0.0.1"),
        ("net", "10.0.0.0/8"),
        ("three", "192.0.2.7 10.0.0.1 2001:db8::/32"),
    ] {
        admin.issue(&NewKey::new(name).allow(ips).unwrap()).unwrap();
    }
    for (entries, expected) in [
        ("0.0.0.0", vec!["any"]),
        ("0.0.0.0/0", vec!["every IPv4"]),
        ("10.0.0.1", vec!["one", "three"]),
        ("10.0.0.0/8", vec!["net"]),
        ("192.0.2.7", vec!["three"]),
        ("2001:DB8::/32", vec!["three"]),
        ("2001:db8::/32 192.0.2.7", vec!["three"]),
        ("10.0.0.10 10.0.0.1", vec![]),
        ("0.0.0.1", vec![]),
    ] {
        let wanted = ListKeys::new().allowed_ips(entries).unwrap();
        assert_eq!(names(&admin, &wanted), expected, "{entries}");
    }
    assert!(ListKeys::new().allowed_ips("10.0.0.1/8").is_err());
    // An allow list that this crate never writes, and that allows no address.
    set(&database, "one", "allowed_ips = '0.0.0.0 10.0.0.1'");
    let any = ListKeys::new().allowed_ips("0.0.0.0").unwrap();
    assert_eq!(names(&admin, &any), ["any"]);
});

// I5
database_test!(a_filter_by_expiry_leaves_out_expired_keys, |database: Database| {
    let admin = database.admin();
    let issue = |name: &str, days: u32| {
        let new = NewKey::new(name).allow_any();
        admin.issue(&if days > 0 { new.expires_in(days * DAY) } else { new }).unwrap();
    };
    for (name, days) in [("never", 0), ("soon", 29), ("later", 31), ("expired", 1)] {
        issue(name, days);
    }
    set(&database, "expired", &format!("expires_at = {}", ago(1)));
    let within = |time: Duration| names(&admin, &ListKeys::new().expires_within(time));
    assert_eq!(within(30 * DAY), ["soon"]);
    assert_eq!(within(40 * DAY), ["soon", "later"]);
    assert_eq!(within(Duration::MAX), ["soon", "later"]);
    assert_eq!(within(Duration::ZERO), [""; 0]);
    assert_eq!(names(&admin, &ListKeys::new().never_expires()), ["never"]);
    assert_eq!(names(&admin, &ListKeys::new().never_expires().expires_within(DAY)), [""; 0]);
});

// I5
database_test!(a_key_is_unused_since_its_last_use_or_its_issue, |database: Database| {
    let admin = database.admin();
    for (name, issued, used) in [
        ("new", 1, None),
        ("never used", 100, None),
        ("used long ago", 100, Some(50)),
        ("used lately", 100, Some(1)),
    ] {
        let id = admin.issue(&NewKey::new(name).allow_any()).unwrap().record.id;
        set(&database, name, &format!("created_at = {}", ago(issued * 24)));
        if let Some(days) = used {
            let insert = "INSERT INTO api_key_usage (key_id, last_used_at, use_count) VALUES";
            database.execute(&format!("{insert} ({id}, {}, 1)", ago(days * 24))).unwrap();
        }
    }
    let unused = |time: Duration| names(&admin, &ListKeys::new().unused_for(time));
    assert_eq!(unused(Duration::ZERO), ["new", "never used", "used long ago", "used lately"]);
    assert_eq!(unused(40 * DAY), ["never used", "used long ago"]);
    assert_eq!(unused(60 * DAY), ["never used"]);
    assert_eq!(unused(Duration::MAX), [""; 0]);
    admin.revoke(admin.list(&ListKeys::new()).unwrap()[1].id).unwrap();
    let active = ListKeys::new().state(KeyState::Active).unused_for(40 * DAY);
    assert_eq!(names(&admin, &active), ["used long ago"]);
});

// I5
database_test!(pages_have_every_selected_key_once_with_its_usage, |database: Database| {
    let admin = database.migrate().admin();
    database.insert_keys(2500);
    database
        .execute(&format!(
            "INSERT INTO api_key_usage (key_id, last_used_at, use_count) \
             SELECT id, {}, id FROM api_keys WHERE id % 100 = 0",
            ago(1)
        ))
        .unwrap();
    let read = |wanted: &ListKeys| {
        // Pages that never end fail the test instead of filling the memory.
        let pages: Vec<_> = admin.pages(wanted).unwrap().take(9).map(Result::unwrap).collect();
        let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
        (pages.concat(), sizes)
    };
    let (listed, sizes) = read(&ListKeys::new());
    assert_eq!(sizes, [1000, 1000, 500]);
    for (key, id) in listed.iter().zip(1..) {
        assert_eq!(key.record.id, id);
        let count = key.usage.as_ref().map(|usage| usage.count);
        assert_eq!(count, (id % 100 == 0).then(|| id.unsigned_abs()), "key {id}");
    }
    assert_eq!(read(&ListKeys::new().limit(1500)).1, [1000, 500]);
    assert_eq!(read(&ListKeys::new().limit(1000)).1, [1000]);
    assert_eq!(read(&ListKeys::new().limit(0)).1, [0; 0]);
    assert_eq!(read(&ListKeys::new().after_id(2499)).1, [1]);
    assert_eq!(read(&ListKeys::new().after_id(2500)).1, [0; 0]);
    let used = read(&ListKeys::new().unused_for(Duration::ZERO).after_id(1400).limit(1050));
    assert_eq!(used.1, [1000, 50]);
});
