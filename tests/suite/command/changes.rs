//! The dry run, the actor and the JSON of subcommands that change keys.

use serde_json::Value;

use super::{app_key, command, outcome};
use crate::support::{Database, database_test};

/// Subcommands that issue or change a key. `enable` is not among them, because it needs a disabled
/// key.
const CHANGES: [&str; 6] = [
    "issue --name n --ip any",
    "update 1 --name other --ip any --scope a --expires 1d --owner o",
    "rotate 1",
    "rotate 1 --now",
    "disable 1",
    "revoke 1",
];

fn events(database: &Database, columns: &str) -> Vec<String> {
    database.texts(&format!("SELECT {columns} FROM api_key_events ORDER BY happened_at, id"))
}

// I1, I6
database_test!(a_dry_run_changes_nothing_and_leaves_no_event, |database: Database| {
    database.issue("10.0.0.0/8");
    let before = (database.rows(), events(&database, "action"));
    for line in CHANGES {
        let ran = app_key(&database, &format!("{line} --dry-run"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.stdout, "", "a key that does not exist is not printed: {ran:?}");
        assert_eq!((database.rows(), events(&database, "action")), before, "{line}");
    }
    app_key(&database, "disable 1").succeeded();
    let before = (database.rows(), events(&database, "action"));
    let ran = app_key(&database, "enable 1 --dry-run");
    assert!(ran.stderr.starts_with("Would enable key 1 "), "{ran:?}");
    assert_eq!((database.rows(), events(&database, "action")), before);
});

// I6
database_test!(the_actor_is_the_option_the_variable_or_the_login, |database: Database| {
    database.issue("10.0.0.0/8");
    for (settings, line, actor) in [
        (&[][..], "disable 1 --actor ada", "ada"),
        (&[("APP_KEY_ACTOR", "deploy"), ("LOGNAME", "root")], "--actor ada enable 1", "ada"),
        (&[("APP_KEY_ACTOR", "deploy"), ("LOGNAME", "root")], "disable 1", "deploy"),
        (&[("LOGNAME", "grace")], "enable 1", "grace"),
        (&[("USER", "barbara")], "disable 1", "barbara"),
        (&[], "enable 1", "app-key"),
    ] {
        let mut command = command(database.url(), line);
        outcome(command.envs(settings.iter().copied())).succeeded();
        let actors = database.texts(
            "SELECT actor FROM api_key_events WHERE action <> 'issued' ORDER BY happened_at, id",
        );
        assert_eq!(actors.last().map(String::as_str), Some(actor), "{line}");
    }
    let ran = app_key(&database, "history 1 --json").json();
    let actors: Vec<&Value> = ran.as_array().unwrap().iter().map(|event| &event["actor"]).collect();
    assert_eq!(actors[1..], ["ada", "ada", "deploy", "grace", "barbara", "app-key"]);
    let ran = app_key(&database, "history 1").succeeded();
    assert!(ran.contains("disabled by \"ada\""), "{ran}");
    assert!(ran.contains("\n  disabled_at: - -> 20"), "{ran}");
    assert!(ran.contains(" s ago)  issued by "), "{ran}");
});

// A10
database_test!(commands_that_change_a_state_print_the_key_as_json, |database: Database| {
    database.issue("10.0.0.0/8");
    for (line, state) in [
        ("disable 1 --json --dry-run", "disabled"),
        ("disable 1 --json", "disabled"),
        ("disable 1 --json", "disabled"),
        ("enable 1 --json", "active"),
        ("revoke 1 --json", "revoked"),
        ("revoke 1 --json", "revoked"),
    ] {
        let after = app_key(&database, line).json();
        assert_eq!((&after["id"], &after["state"]), (&1.into(), &state.into()), "{line}");
        if !line.contains("--dry-run") {
            assert_eq!(after, app_key(&database, "show 1 --json").json(), "{line}");
        }
    }
    assert_eq!(app_key(&database, "migrate --json").json()["migrations"], Value::Array(Vec::new()));
});

// I1
database_test!(each_option_of_update_changes_its_field, |database: Database| {
    database.migrate();
    let new = "issue --name n --ip 10.0.0.1 --ip ::1 --scope a --scope b --owner o --expires 90d";
    app_key(&database, new).succeeded();
    let shown = |field: &str| app_key(&database, "show 1 --json").json()[field].clone();
    for (options, field, expected) in [
        ("--remove-ip ::1", "allowed_ips", "10.0.0.1"),
        ("--add-ip 10.0.0.2", "allowed_ips", "10.0.0.1 10.0.0.2"),
        ("--remove-scope a", "scopes", "b"),
        ("--add-scope c", "scopes", "b c"),
        ("--no-scopes", "scopes", ""),
    ] {
        app_key(&database, &format!("update 1 {options}")).succeeded();
        assert_eq!(shown(field), expected, "{options}");
    }
    app_key(&database, "update 1 --no-owner").succeeded();
    assert_eq!(shown("owner"), Value::Null);
    let before = shown("expires_at");
    app_key(&database, "update 1 --expires 10d").succeeded();
    assert!(shown("expires_at").as_str() < before.as_str());
    let before = database.rows();
    let last = "--remove-ip 10.0.0.1 --remove-ip 10.0.0.2";
    for wrong in [last, "--remove-ip ::1", "--expires 2020-01-31T00:00:00Z"] {
        let ran = app_key(&database, &format!("update 1 {wrong}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{wrong}: {ran:?}");
    }
    assert_eq!(database.rows(), before);
});
