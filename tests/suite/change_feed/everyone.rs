//! Tests of the change feeds of both databases.

use std::time::{Duration, Instant};

use super::{Reader, Seen, hex, insert, insertion, keys, nothing};
use crate::support::{Database, database_test};

// E6
database_test!(every_kind_of_change_by_plain_sql_is_reported_once, |database: Database| {
    database.migrate();
    let bystander = insert(&database, 1);
    let digest = insert(&database, 2);
    let mut reader = Reader::new(&database);
    assert_eq!(reader.read(), nothing());
    let row = format!("digest = {}", database.literal(&digest));
    for change in [
        "allowed_ips = '10.0.0.1'",
        "scopes = 'a'",
        "expires_at = '2027-01-01 00:00:00+00:00'",
        "disabled_at = '2026-01-01 00:00:00+00:00'",
        "disabled_at = NULL",
        "name = 'other'",
        "owner = 'me'",
        "digest_algorithm = 'hmac-sha256:0123456789abcdef'",
        "revoked_at = '2026-01-01 00:00:00+00:00'",
    ] {
        database.execute(&format!("UPDATE api_keys SET {change} WHERE {row}")).unwrap();
        assert_eq!(reader.read(), keys([&digest]), "{change}");
        assert_eq!(reader.read(), nothing(), "reported once");
    }
    database.execute(&format!("DELETE FROM api_keys WHERE {row}")).unwrap();
    assert_eq!(reader.read(), keys([&digest]), "deleting");
    let added = insert(&database, 3);
    assert_eq!(reader.read(), keys([&added]), "issuing");
    database.execute("UPDATE api_keys SET scopes = 'b'").unwrap();
    assert_eq!(reader.read(), keys([&bystander, &added]), "several");
    database.execute("UPDATE api_keys SET scopes = 'c' WHERE id = -1").unwrap();
    assert_eq!(reader.read(), nothing());
});

// E6
database_test!(changes_by_administration_are_reported, |database: Database| {
    let admin = database.admin();
    let mut reader = Reader::new(&database);
    let (_, id) = database.issue("0.0.0.0");
    let digest = hex(admin.get(id).unwrap().digest.as_bytes());
    assert_eq!(reader.read(), keys([&digest]), "issued");
    admin.disable(id).unwrap();
    assert_eq!(reader.read(), keys([&digest]), "disabled");
    admin.enable(id).unwrap();
    assert_eq!(reader.read(), keys([&digest]), "enabled");
    admin.revoke(id).unwrap();
    assert_eq!(reader.read(), keys([&digest]), "revoked");
    admin.revoke(id).unwrap();
    assert_eq!(reader.read(), nothing(), "revoked again");
});

// E7
database_test!(a_reader_gets_every_change_since_its_last_read, |database: Database| {
    database.migrate();
    let mut reader = Reader::new(&database);
    let first = insert(&database, 1);
    let mut late = Reader::new(&database);
    assert_eq!(reader.read(), keys([&first]));
    let second = insert(&database, 2);
    assert_eq!(reader.read(), keys([&second]));
    let third = insert(&database, 3);
    assert_eq!(late.read(), keys([&second, &third]));
    late.feed = None;
    assert_eq!(late.read(), Seen::Everything, "another feed of the same store");
});

// E6
database_test!(a_change_of_over_1000_keys_means_everything_changed, |database: Database| {
    database.migrate();
    let mut reader = Reader::new(&database);
    // One statement per key, because on Postgres a statement that changes more than 64 keys is
    // logged as a change of everything.
    let insert_each = |numbers: std::ops::RangeInclusive<u32>| {
        let digests: Vec<String> = numbers.map(|number| format!("{number:064x}")).collect();
        let statements = digests.iter().map(|digest| insertion(&database, digest));
        database.execute(&statements.collect::<Vec<String>>().join("; ")).unwrap();
        digests
    };
    assert_eq!(reader.read(), nothing());
    let expected = insert_each(1..=1000);
    assert_eq!(reader.read(), keys(&expected), "a thousand");
    insert_each(1001..=2001);
    assert_eq!(reader.read(), Seen::Everything, "one more");
    assert_eq!(reader.read(), nothing());
});

// E1, E6
database_test!(a_change_wakes_a_waiting_reader_early, |database: Database| {
    database.migrate();
    let mut reader = Reader::new(&database);
    // Gives the reader time to receive its own probe notification on Postgres.
    reader.wait(Duration::from_millis(300));
    assert_eq!(reader.read(), nothing());
    let digest = insert(&database, 1);
    let began = Instant::now();
    let timeout = Duration::from_secs(20);
    reader.wait(timeout);
    assert!(began.elapsed() < timeout / 2, "{:?}", began.elapsed());
    assert_eq!(reader.read(), keys([&digest]));
    let began = Instant::now();
    reader.wait(Duration::from_millis(100));
    assert!(
        began.elapsed() >= Duration::from_millis(99),
        "woken without a change: {:?}",
        began.elapsed()
    );
});
