//! The audit log: every change of a key leaves an event in the same transaction.

use std::time::Duration;

use api_key_runtime::admin::{KeyChanges, KeyEvent, NewKey};
use serde_json::{Value, json};

use crate::support::{Database, database_test};

fn history(database: &Database, id: i64) -> Vec<KeyEvent> {
    database.admin().history(id, 100).unwrap()
}

/// Returns an event as action, actor, fields before and fields after.
fn summary(event: &KeyEvent) -> (&str, Option<&str>, Value, Value) {
    let parse = |text: &Option<String>| match text {
        Some(text) => serde_json::from_str(text).unwrap(),
        None => Value::Null,
    };
    (&event.action, event.actor.as_deref(), parse(&event.before), parse(&event.after))
}

// I6
database_test!(every_call_leaves_one_event_with_what_changed, |database: Database| {
    let admin = database.migrate().admin().acting_as("ada").unwrap();
    let new = NewKey::new("billing").allow("10.0.0.0/8").unwrap().owner("shop");
    let id = admin.issue(&new).unwrap().record.id;
    admin.update(id, &KeyChanges::new().name("other").no_owner()).unwrap();
    let disabled = admin.disable(id).unwrap().disabled_at.unwrap();
    admin.enable(id).unwrap();
    let rotated = admin.rotate(id, Duration::from_secs(60)).unwrap();
    admin.revoke(id).unwrap();
    // Calls that change nothing.
    admin.revoke(id).unwrap();
    admin.update(rotated.issued.record.id, &KeyChanges::new()).unwrap();

    let events = history(&database, id);
    let events: Vec<_> = events.iter().map(summary).collect();
    let actions: Vec<_> = events.iter().map(|event| event.0).collect();
    assert_eq!(actions, ["issued", "updated", "disabled", "enabled", "rotated", "revoked"]);
    assert!(events.iter().all(|event| event.1 == Some("ada")), "{events:?}");
    let issued = &events[0].3;
    assert_eq!((&issued["name"], &issued["owner"]), (&json!("billing"), &json!("shop")));
    assert_eq!(
        (&events[1].2, &events[1].3),
        (&json!({"name": "billing", "owner": "shop"}), &json!({"name": "other", "owner": null}))
    );
    let time = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>();
    assert_eq!(events[2].2, json!({"disabled_at": null}));
    assert_eq!(time(&events[2].3["disabled_at"]).unwrap(), disabled);
    assert_eq!(events[4].3["replaced_by"], json!(rotated.issued.record.id));
    assert_eq!(history(&database, rotated.issued.record.id).len(), 1, "the new key was issued");
});

// I6
database_test!(plain_sql_leaves_events_without_actor_and_secrets, |database: Database| {
    let admin = database.migrate().admin();
    let (key, id) = database.issue("0.0.0.0");
    let digest = if database.is_postgres() {
        "'\\xcd'::bytea || substr(digest, 2)"
    } else {
        "randomblob(32)"
    };
    for change in [
        "scopes = 'cakes:read'".to_owned(),
        "created_at = created_at".to_owned(),
        format!("digest = {digest}"),
    ] {
        database.execute(&format!("UPDATE api_keys SET {change} WHERE id = {id}")).unwrap();
    }
    database.execute(&format!("DELETE FROM api_keys WHERE id = {id}")).unwrap();
    let events = admin.history(id, 100).unwrap();
    let actions: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["issued", "updated", "updated", "deleted"], "events outlive the key");
    assert_eq!(summary(&events[1]).2, json!({"scopes": ""}));
    assert_eq!(summary(&events[2]).3, json!({"digest": "(not recorded)"}));
    assert_eq!(summary(&events[3]).2["name"], summary(&events[0]).3["name"]);
    let role = database.is_postgres().then(|| database.texts("SELECT session_user").remove(0));
    for event in &events {
        assert_eq!((event.actor.as_deref(), &event.role), (None, &role), "{event:?}");
        let text = format!("{event:?}");
        assert!(!text.contains(&key), "the key itself is not recorded");
    }
    // The order of history is that of the changes, and the newest events are kept.
    let newest = admin.history(id, 2).unwrap();
    assert_eq!(newest, events[2..]);
});

// I6
database_test!(a_failed_change_leaves_no_event, |database: Database| {
    let admin = database.migrate().admin().acting_as("ada").unwrap();
    let (_, id) = database.issue("0.0.0.0");
    admin.revoke(id).unwrap();
    let events = history(&database, id);
    assert!(admin.enable(id).is_err());
    let revived = database
        .execute(&format!("UPDATE api_keys SET revoked_at = NULL, name = 'x' WHERE id = {id}"));
    assert!(revived.is_err());
    let dry = admin.clone().dry_run();
    let other = dry.issue(&NewKey::new("dry").allow_any()).unwrap().record.id;
    assert!(dry.get(other).unwrap_err().is_not_found(), "a dry run issues no key");
    assert_eq!(history(&database, id), events);
    assert!(history(&database, other).is_empty());
});

// I6
#[test]
fn more_than_64_keys_of_one_statement_are_one_event_on_postgres() {
    let database = Database::postgres();
    database.migrate();
    let insert = |count: u32| {
        format!(
            "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) \
             SELECT sha256((random()::text || n)::bytea), 'sha256', 'h', 'bulk', '0.0.0.0' FROM generate_series(1, {count}) AS n"
        )
    };
    database.execute(&insert(64)).unwrap();
    let count = || database.texts("SELECT count(*)::text FROM api_key_events").remove(0);
    assert_eq!(count(), "64");
    database.execute(&insert(65)).unwrap();
    assert_eq!(count(), "65");
    database.execute("UPDATE api_keys SET owner = 'shop'").unwrap();
    database.execute("UPDATE api_keys SET owner = 'shop'").unwrap();
    assert_eq!(count(), "66", "a statement that changes nothing leaves no event");
    let events = history(&database, 100);
    let shown: Vec<_> = events
        .iter()
        .map(|event| (event.action.as_str(), event.key_id, event.last_key_id, event.key_count))
        .collect();
    assert_eq!(shown, [("issued", 65, 129, 65), ("updated", 1, 129, 129)]);
    database.execute("TRUNCATE api_keys CASCADE").unwrap();
    assert_eq!(history(&database, 100).last().unwrap().action, "truncated");
}

// I7
database_test!(a_pruned_key_cannot_be_inserted_again, |database: Database| {
    database.migrate();
    let (_, id) = database.issue("0.0.0.0");
    let copy = "CREATE TABLE copy AS SELECT * FROM api_keys";
    database.execute(copy).unwrap();
    database
        .execute("INSERT INTO api_key_pruned (key_id, digest) SELECT id, digest FROM api_keys")
        .unwrap();
    database.execute(&format!("DELETE FROM api_keys WHERE id = {id}")).unwrap();
    let override_id = if database.is_postgres() { "OVERRIDING SYSTEM VALUE" } else { "" };
    let restore = format!("INSERT INTO api_keys {override_id} SELECT * FROM copy");
    let error = database.execute(&restore).unwrap_err().to_string();
    assert!(error.contains("pruning is final"), "{error}");
    database.issue("0.0.0.0");
});
