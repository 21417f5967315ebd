//! `app-key list`: its filters, its exit code, and long lists.

use serde_json::Value;

use super::{Ran, app_key};
use crate::support::{Database, database_test};

fn ids(ran: Ran) -> Vec<i64> {
    ran.json().as_array().unwrap().iter().map(|key| key["id"].as_i64().unwrap()).collect()
}

// I5
database_test!(every_filter_of_list_selects_its_keys, |database: Database| {
    database.migrate();
    for line in ["--ip any", "--ip 10.0.0.1 --owner shop --expires 10d", "--ip ::1 --expires 60d"] {
        app_key(&database, &format!("issue --name n {line}")).succeeded();
    }
    app_key(&database, "disable 1").succeeded();
    for (filters, expected) in [
        ("", vec![1, 2, 3]),
        ("--ip any", vec![1]),
        ("--ip 10.0.0.1", vec![2]),
        ("--ip 10.0.0.0/8", vec![]),
        ("--expires never", vec![1]),
        ("--expires-within 30d", vec![2]),
        ("--expires-within 90d", vec![2, 3]),
        ("--unused-for 0s", vec![1, 2, 3]),
        ("--unused-for 1d", vec![]),
        ("--state active --expires-within 90d --after 2", vec![3]),
        ("--expires-within 90d --owner shop --limit 1", vec![2]),
        ("--owner shop", vec![2]),
        ("--limit 1", vec![1]),
        ("--state disabled", vec![1]),
        ("--state active", vec![2, 3]),
    ] {
        assert_eq!(
            ids(app_key(&database, &format!("list --json {filters}"))),
            expected,
            "{filters}"
        );
    }
    for wrong in [
        "--ip 10.0.0.1/8",
        "--expires 30d",
        "--expires never --expires-within 30d",
        "--unused-for 90",
        "--expires-within never",
    ] {
        let ran = app_key(&database, &format!("list {wrong}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{wrong}: {ran:?}");
    }
});

// I5
database_test!(list_exits_with_3_on_request_if_there_are_keys, |database: Database| {
    database.issue("0.0.0.0");
    for form in ["", " --json"] {
        let found = app_key(&database, &format!("list --exit-code --ip any{form}"));
        assert_eq!((found.code, found.stderr.as_str()), (Some(3), ""), "{found:?}");
        assert!(found.stdout.contains("ak_live_"), "{found:?}");
        let none = app_key(&database, &format!("list --exit-code --ip ::1{form}"));
        assert_eq!(none.code, Some(0), "{none:?}");
        assert_eq!(app_key(&database, &format!("list --ip any{form}")).code, Some(0));
    }
});

// I5
database_test!(a_long_list_is_complete_and_has_one_line_for_each_key, |database: Database| {
    database.migrate().insert_keys(2100);
    database.set(1500, "name = 'a name that is much wider than those of the first page'");
    database
        .execute("INSERT INTO api_key_usage (key_id, last_used_at, use_count) VALUES (2000, '2020-01-01 00:00:00+00:00', 1234567890123)")
        .unwrap();
    let listed = app_key(&database, "list --json").succeeded();
    assert_eq!(listed.lines().count(), 2100);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[1999]["use_count"], 1_234_567_890_123_i64);
    assert!(listed.as_array().unwrap().iter().map(|key| key["id"].as_i64().unwrap()).eq(1..=2100));
    let table = app_key(&database, "list").succeeded();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2101);
    assert!(lines[1500].contains("  a name t…  -  "), "{}", lines[1500]);
    assert!(lines[2000].contains("  1234567890123  active"), "{}", lines[2000]);
    assert_eq!(lines[2100].split_whitespace().next(), Some("2100"));
    assert_eq!(app_key(&database, "list --json --after 2100").succeeded(), "[]\n");
});
