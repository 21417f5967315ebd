//! Key usage as the command shows it.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{app_key, routes};
use crate::support::{Database, Server, database_test, http};

// F11, A11
database_test!(list_and_show_print_key_usage, |database: Database| {
    let keys = database.migrate().builder().trusted_proxies(["127.0.0.1"]).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let issued: Vec<String> = (0..3).map(|_| database.issue("0.0.0.0").0).collect();
    let use_key = |key: &str, from: Option<&str>| {
        let key = format!("X-API-Key: {key}");
        let from = from.map(|address| format!("X-Forwarded-For: {address}"));
        let lines: Vec<&str> =
            [Some(key.as_str()), from.as_deref()].into_iter().flatten().collect();
        assert_eq!(http::get(server.address, "/cake", &lines).status, 200);
    };
    let before = Utc::now() - TimeDelta::seconds(1);
    use_key(&issued[0], Some("203.0.113.7"));
    use_key(&issued[0], Some("2001:db8::7"));
    use_key(&issued[1], None);
    keys.flush_usage(crate::support::TEST_TIMEOUT).unwrap();

    let listed = app_key(&database, "list").succeeded();
    for (line, words) in listed.lines().skip(1).zip([
        " ago 2001:db8::7 2 active",
        " ago unknown 1 active",
        " never - 0 active",
    ]) {
        let line: Vec<&str> = line.split_whitespace().collect();
        assert!(line.join(" ").ends_with(words), "{words}: {listed}");
    }
    let shown = |id: i64| app_key(&database, &format!("show {id}")).succeeded();
    for (id, last, from, uses) in
        [(1, "20", "2001:db8::7", "2"), (2, "20", "unknown", "1"), (3, "never", "-", "0")]
    {
        let shown = shown(id);
        for line in [
            format!("\nlast used         {last}"),
            format!("\nused from         {from}\n"),
            format!("\nuses              {uses}\n"),
        ] {
            assert!(shown.contains(&line), "{line}: {shown}");
        }
    }

    let listed = app_key(&database, "list --json").json();
    for (index, (from, uses)) in
        [(Value::from("2001:db8::7"), 2), (Value::Null, 1), (Value::Null, 0)]
            .into_iter()
            .enumerate()
    {
        let record = &listed[index];
        assert_eq!((&record["last_used_ip"], &record["use_count"]), (&from, &uses.into()));
        match record["last_used_at"].as_str() {
            Some(at) => {
                let at: DateTime<Utc> = at.parse().unwrap();
                assert!((before..=Utc::now()).contains(&at), "{at}");
            }
            None => assert_eq!(uses, 0, "{record}"),
        }
        let shown = app_key(&database, &format!("show {} --json", index + 1)).json();
        assert_eq!(&shown, record);
    }
});

// A11
database_test!(show_tells_whether_the_old_key_is_still_used, |database: Database| {
    let (old, id) = database.issue("0.0.0.0");
    let rotation = || app_key(&database, "show 1 --json").json()["rotation"].clone();
    assert_eq!(rotation(), Value::Null);
    database.admin().rotate(id, std::time::Duration::from_secs(3600)).unwrap();
    let first = rotation();
    assert_eq!((&first["replaced_by"], &first["is_safe_to_end"]), (&2.into(), &Value::Null));
    let new = app_key(&database, "show 2 --json").json();
    assert_eq!(first["rotated_at"], new["created_at"]);

    let keys = database.builder().trusted_proxies(["127.0.0.1"]).build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let lines = [format!("X-API-Key: {old}"), "X-Forwarded-For: 203.0.113.7".to_owned()];
    let lines = lines.each_ref().map(String::as_str);
    assert_eq!(http::get(server.address, "/cake", &lines).status, 200);
    keys.flush_usage(crate::support::TEST_TIMEOUT).unwrap();
    assert_eq!(rotation()["is_safe_to_end"], false);
    let shown = app_key(&database, "show 1").succeeded();
    for part in [
        "\nreplaced by       key 2, 20",
        "\nsafe to end       no\nreason            used ",
        " from 203.0.113.7\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    app_key(&database, "revoke 1").succeeded();
    let ended = rotation();
    assert_eq!(ended["is_safe_to_end"], true, "{ended}");
    assert_eq!(ended["reason"], "the key is revoked already");
    let shown = app_key(&database, "show 1 --json").json();
    assert_eq!((&shown["use_count"], &shown["last_used_ip"]), (&1.into(), &"203.0.113.7".into()));
});
