//! The audit log: every change of a key leaves an event in the same transaction.

use std::time::Duration;

use api_key_runtime::admin::{KeyChanges, KeyEvent, NewKey};
use diesel::{Connection as _, PgConnection, SqliteConnection, connection::SimpleConnection as _};
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
    // These calls change nothing, so they leave no event.
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
    let hex = if database.is_postgres() { "encode(digest, 'hex')" } else { "lower(hex(digest))" };
    let digest_of_key = || database.texts(&format!("SELECT {hex} FROM api_keys")).remove(0);
    let mut digests = vec![digest_of_key()];
    for change in [
        "scopes = 'cakes:read'".to_owned(),
        "created_at = created_at".to_owned(),
        format!("digest = {digest}"),
    ] {
        database.execute(&format!("UPDATE api_keys SET {change} WHERE id = {id}")).unwrap();
    }
    digests.push(digest_of_key());
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
        let text = format!("{event:?}").to_lowercase();
        for secret in [&key.to_lowercase(), &digests[0], &digests[1]] {
            assert!(!text.contains(secret), "neither a key nor a digest is recorded: {text}");
        }
    }
    // The history is in the order of the changes, and a limit keeps the newest events.
    let newest = admin.history(id, 2).unwrap();
    assert_eq!(newest, events[2..]);
});

// I6
database_test!(each_changed_column_is_recorded, |database: Database| {
    database.migrate();
    let (_, id) = database.issue("0.0.0.0");
    let time = "'2400-01-31 00:00:00+00:00'";
    for (column, value) in [
        ("hint", "'h'"),
        ("name", "'n'"),
        ("owner", "'o'"),
        ("allowed_ips", "'10.0.0.1'"),
        ("scopes", "'a'"),
        ("created_at", "'2020-01-31 00:00:00+00:00'"),
        ("expires_at", time),
        ("disabled_at", time),
        ("revoked_at", time),
    ] {
        let count = history(&database, id).len();
        database.set(id, &format!("{column} = {value}"));
        let events = history(&database, id);
        assert_eq!(events.len(), count + 1, "{column}");
        let (_, _, before, after) = summary(events.last().unwrap());
        for fields in [before, after] {
            let names: Vec<&String> = fields.as_object().unwrap().keys().collect();
            assert_eq!(names, [column]);
        }
    }
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
    assert_eq!(history(&database, 65), events, "the first key of a summary has each event once");
    database.execute("TRUNCATE api_keys CASCADE").unwrap();
    assert_eq!(history(&database, 100).last().unwrap().action, "truncated");
}

// I7
database_test!(a_pruned_key_cannot_come_back, |database: Database| {
    database.migrate();
    let (_, id) = database.issue("0.0.0.0");
    let (_, other) = database.issue("0.0.0.0");
    prune(&database, id);
    let override_id = if database.is_postgres() { "OVERRIDING SYSTEM VALUE" } else { "" };
    let restore = format!("INSERT INTO api_keys {override_id} SELECT * FROM copy");
    let digest =
        format!("UPDATE api_keys SET digest = (SELECT digest FROM copy) WHERE id = {other}");
    for change in [restore.as_str(), &digest] {
        let error = database.execute(change).unwrap_err();
        assert!(error.contains("pruning is final"), "{change}: {error}");
    }
    // Postgres refuses every change of an id.
    let take_id = format!("UPDATE api_keys SET id = {id} WHERE id = {other}");
    let error = database.execute(&take_id).unwrap_err();
    assert!(database.is_postgres() || error.contains("pruning is final"), "{error}");
    database.issue("0.0.0.0");
});

/// Prunes a key by SQL: records the key as pruned, and deletes it. The table `copy` keeps the row.
fn prune(database: &Database, id: i64) {
    for change in [
        format!("CREATE TABLE copy AS SELECT * FROM api_keys WHERE id = {id}"),
        format!(
            "INSERT INTO api_key_pruned (key_id, digest) SELECT id, digest FROM api_keys WHERE id = {id}"
        ),
        format!("DELETE FROM api_keys WHERE id = {id}"),
    ] {
        database.execute(&change).unwrap();
    }
}

// I7
#[test]
fn an_old_snapshot_revives_no_pruned_key() {
    let database = Database::postgres();
    database.migrate();
    let (_, id) = database.issue("0.0.0.0");
    let mut old = PgConnection::establish(database.url()).unwrap();
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM api_keys")
        .unwrap();
    prune(&database, id);
    let error = old
        .batch_execute(
            "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) VALUES (sha256('x'), 'sha256', 'h', 'n', '0.0.0.0')",
        )
        .unwrap_err()
        .to_string();
    assert!(error.contains("could not serialize access"), "{error}");
}

// I7
#[test]
fn replication_and_lost_sequences_revive_no_pruned_key() {
    let database = Database::postgres();
    database.migrate();
    let (_, id) = database.issue("0.0.0.0");
    prune(&database, id);
    database
        .execute(
            "SET session_replication_role = replica; \
             INSERT INTO api_keys OVERRIDING SYSTEM VALUE SELECT * FROM copy; \
             SET session_replication_role = origin; \
             SELECT setval(pg_get_serial_sequence('api_keys', 'id'), 1, false)",
        )
        .unwrap();
    assert!(database.rows().is_empty(), "the row is skipped, and replication goes on");
    assert!(database.issue("0.0.0.0").1 > id, "a pruned id is not used again");
}

// I6
database_test!(a_summary_hides_no_update, |database: Database| {
    database.migrate();
    let (_, id) = database.issue("10.0.0.1");
    let update = format!("UPDATE api_keys SET allowed_ips = '0.0.0.0' WHERE id = {id}");
    let as_import = if database.is_postgres() {
        format!("SELECT set_config('app_key.summary', 'imported', false); {update}")
    } else {
        format!("INSERT INTO api_key_session (id, summary) VALUES (1, 'imported'); {update}")
    };
    database.execute(&as_import).unwrap();
    let events = history(&database, id);
    let updated = summary(events.last().unwrap());
    assert_eq!((updated.0, &updated.3), ("updated", &json!({"allowed_ips": "0.0.0.0"})));
});

// I6
database_test!(a_summary_applies_only_to_its_own_change, |database: Database| {
    database.migrate();
    let (_, id) = database.issue("10.0.0.1");
    let digest = database.literal(&"ab".repeat(32));
    let insert = format!(
        "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) \
         VALUES ({digest}, 'sha256', 'h', 'inserted', '0.0.0.0')"
    );
    let delete = format!("DELETE FROM api_keys WHERE id = {id}");
    for (summary, change) in [("pruned", &insert), ("imported", &delete)] {
        let state = if database.is_postgres() {
            format!("SELECT set_config('app_key.summary', '{summary}', false)")
        } else {
            let insert = "INSERT INTO api_key_session (id, summary) VALUES";
            format!("DELETE FROM api_key_session; {insert} (1, '{summary}')")
        };
        database.execute(&format!("{state}; {change}")).unwrap();
    }
    let deleted = history(&database, id).pop().unwrap();
    assert_eq!((summary(&deleted).0, &summary(&deleted).2["name"]), ("deleted", &json!("test")));
    let issued = history(&database, id + 1).pop().unwrap();
    assert_eq!((summary(&issued).0, &summary(&issued).3["name"]), ("issued", &json!("inserted")));
});

// I6
database_test!(the_application_keeps_its_own_actor_in_its_transaction, |database: Database| {
    let admin = database.migrate().admin().acting_as("library").unwrap();
    let state = if database.is_postgres() {
        "SELECT set_config('app_key.actor', 'application', true)"
    } else {
        "INSERT INTO api_key_session (id, actor) VALUES (1, 'application')"
    };
    let new = NewKey::new("test").allow_any();
    macro_rules! in_transaction {
        ($connection:expr, $transaction:ident) => {
            $connection.$transaction(|connection| {
                connection.batch_execute(state).unwrap();
                let id = admin.issue_in_transaction(connection, &new).unwrap().record.id;
                connection.batch_execute("UPDATE api_keys SET name = 'renamed'").unwrap();
                if !database.is_postgres() {
                    connection.batch_execute("DELETE FROM api_key_session").unwrap();
                }
                Ok::<_, diesel::result::Error>(id)
            })
        };
    }
    let id = if database.is_postgres() {
        in_transaction!(PgConnection::establish(database.url()).unwrap(), transaction)
    } else {
        in_transaction!(SqliteConnection::establish(database.url()).unwrap(), immediate_transaction)
    };
    let events = history(&database, id.unwrap());
    let actors: Vec<_> = events.iter().map(|event| event.actor.as_deref()).collect();
    assert_eq!(actors, [Some("library"), Some("application")]);
    let dry = admin.dry_run();
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    assert!(dry.issue_in_transaction(&mut connection, &new).unwrap_err().is_invalid_input());
});
