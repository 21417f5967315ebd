//! On both databases.

use std::time::{Duration, Instant};

use api_key_runtime::{ChangeCursor, KeyStore as _};

use super::{Reader, Seen, hex, insert, insertion, keys, nothing};
use crate::support::{Database, database_test};

// E6
database_test!(every_kind_of_change_by_direct_sql_is_told_once, |database: Database| {
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
        assert_eq!(reader.read(), nothing(), "once");
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
database_test!(what_administration_changes_is_told, |database: Database| {
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
database_test!(to_a_cursor_that_cannot_be_read_everything_has_changed, |database: Database| {
    database.migrate();
    let mut reader = Reader::new(&database);
    for unreadable in ["", "x", "pg1 0:0: 0 0", "pg1 9:1: 1 1", "sqlite1 1 zz 1", "\0"] {
        reader.cursor = Some(ChangeCursor::new(unreadable));
        assert_eq!(reader.read(), Seen::Everything, "{unreadable:?}");
        assert_eq!(reader.read(), nothing());
    }
    reader.cursor = None;
    assert_eq!(reader.read(), Seen::Everything);
});

// E7
database_test!(
    a_reader_that_stayed_behind_is_told_all_it_missed_and_a_cursor_may_be_used_again,
    |database: Database| {
        database.migrate();
        let mut reader = Reader::new(&database);
        let first = insert(&database, 1);
        let start = reader.cursor.clone();
        assert_eq!(reader.read(), keys([&first]));
        let second = insert(&database, 2);
        assert_eq!(reader.read(), keys([&second]));
        // The answer was lost, or another thread took over with the cursor it had.
        reader.cursor = start;
        assert_eq!(reader.read(), keys([&first, &second]));
    }
);

// E6
database_test!(
    a_change_of_more_keys_than_a_list_should_hold_is_everything,
    |database: Database| {
        database.migrate();
        let mut reader = Reader::new(&database);
        // A statement each: on Postgres one of more than 64 keys says "everything" by itself.
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
    }
);

// E1, E6
database_test!(
    whoever_waits_is_woken_by_a_change_long_before_the_time_is_over,
    |database: Database| {
        database.migrate();
        let mut reader = Reader::new(&database);
        // Until notifications are known to arrive, where there are any.
        reader.store.wait_for_change(Duration::from_millis(300));
        assert_eq!(reader.read(), nothing());
        let digest = insert(&database, 1);
        let began = Instant::now();
        let patience = Duration::from_secs(20);
        reader.store.wait_for_change(patience);
        assert!(began.elapsed() < patience / 2, "{:?}", began.elapsed());
        assert_eq!(reader.read(), keys([&digest]));
        let began = Instant::now();
        reader.store.wait_for_change(Duration::from_millis(100));
        assert!(
            began.elapsed() >= Duration::from_millis(99),
            "woken by nothing: {:?}",
            began.elapsed()
        );
    }
);
