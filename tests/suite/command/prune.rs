//! `app-key prune`.

use std::{thread, time::Duration};

use super::{app_key, command};
use crate::support::{Database, database_test};

const OLD: &str = "2001-01-01 00:00:00+00:00";

fn count(database: &Database, table: &str) -> usize {
    let query = format!("SELECT CAST(count(*) AS text) FROM {table}");
    database.texts(&query).remove(0).parse().unwrap()
}

// I7
database_test!(prune_counts_what_it_deletes_or_would_delete, |database: Database| {
    database.issue_many(3);
    database.set(1, &format!("expires_at = '{OLD}'"));
    database.set(2, &format!("revoked_at = '{OLD}'"));
    database
        .execute(&format!("UPDATE api_key_events SET happened_at = '{OLD}' WHERE key_id = 3"))
        .unwrap();
    let all = "prune --expired-for 90d --revoked-for 90d --events-older-than 400d";
    let dry = app_key(&database, &format!("{all} --dry-run"));
    assert_eq!(dry.stderr, "Would delete 2 keys and 1 event.\n");
    assert_eq!(dry.succeeded(), "");
    let dry = app_key(&database, &format!("{all} --dry-run --json")).json();
    assert_eq!(dry, serde_json::json!({"keys": 2, "events": 1}));
    assert_eq!(count(&database, "api_keys"), 3);
    let ran = app_key(&database, "prune --revoked-for 90d");
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), "Deleted 1 key and 0 events.\n"),
        "{ran:?}"
    );
    let rest = app_key(&database, &format!("{all} --json")).json();
    assert_eq!(rest, serde_json::json!({"keys": 1, "events": 1}));
    assert_eq!(app_key(&database, all).stderr, "Deleted 0 keys and 0 events.\n");
    let history = app_key(&database, "history 2").succeeded();
    assert!(history.lines().last().unwrap().contains("  pruned "), "{history}");
    for wrong in ["prune", "prune --yes", "prune --expired-for 90", "prune --expired-for never"] {
        let ran = app_key(&database, wrong);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{wrong}: {ran:?}");
    }
});

// I7
database_test!(a_killed_prune_is_continued_by_the_next, |database: Database| {
    database.migrate().insert_keys(3000);
    database.execute(&format!("UPDATE api_keys SET expires_at = '{OLD}'")).unwrap();
    let line = "prune --expired-for 90d --yes";
    let (mut killed, mut time) = (0, Duration::from_millis(50));
    while count(&database, "api_keys") > 1000 {
        let mut child = command(database.url(), line).spawn().unwrap();
        thread::sleep(time);
        // On a slow machine, the command may need more time to connect.
        time += Duration::from_millis(50);
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        assert_eq!(count(&database, "api_keys") + count(&database, "api_key_pruned"), 3000);
        let both = "api_keys WHERE digest IN (SELECT digest FROM api_key_pruned)";
        assert_eq!(count(&database, both), 0, "no key is both");
    }
    assert!(killed > 0);
    app_key(&database, line).succeeded();
    assert_eq!((count(&database, "api_keys"), count(&database, "api_key_pruned")), (0, 3000));
});
