//! The effects of subcommands on keys.

use chrono::{DateTime, TimeDelta, Utc};

use super::{app_key, status};
use crate::support::{Database, database_test};

database_test!(a_key_is_issued_disabled_enabled_and_revoked, |database: Database| {
    app_key(&database, "migrate").succeeded();
    let key = app_key(&database, "issue --name billing --ip 127.0.0.0/8 --ip ::1").succeeded();
    let state = |expected: &str, answered: u16| {
        let listed = app_key(&database, "list").succeeded();
        let line = listed.lines().nth(1).unwrap();
        assert!(line.ends_with(expected), "{listed}");
        let shown = app_key(&database, "show 1").succeeded();
        assert!(shown.contains(&format!("state             {expected}\n")), "{shown}");
        assert_eq!(status(database.builder(), &key), answered);
    };
    let said = |line: &str| {
        let ran = app_key(&database, line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
        ran.stderr
    };
    state("active", 200);
    assert!(said("disable 1").starts_with("Disabled key 1 ak_live_"));
    state("disabled", 401);
    assert!(said("disable 1").contains("has been disabled since 20"));
    state("disabled", 401);
    assert!(said("enable 1").starts_with("Enabled key 1 ak_live_"));
    state("active", 200);
    assert!(said("enable 1").contains("is not disabled"));
    state("active", 200);
    let revoked = said("revoke 1");
    assert!(revoked.starts_with("Revoked key 1 ak_live_"), "{revoked}");
    assert!(revoked.contains("(billing)"), "{revoked}");
    state("revoked", 401);
});

database_test!(revoking_twice_reports_the_first_time, |database: Database| {
    database.issue("0.0.0.0");
    app_key(&database, "revoke 1").succeeded();
    let before = database.rows();
    let record = app_key(&database, "show 1 --json").json();
    let (second, _) = record["revoked_at"].as_str().unwrap().split_once('.').unwrap();
    for again in ["revoke 1", "revoke 1 --yes"] {
        let ran = app_key(&database, again);
        assert!(ran.stderr.contains("has been revoked since 20"), "{ran:?}");
        assert!(ran.stderr.contains(second), "{ran:?}");
        ran.succeeded();
    }
    for change in ["enable 1", "disable 1"] {
        app_key(&database, change).refused("is revoked, which is final");
    }
    assert_eq!(database.rows(), before);
});

#[test]
fn enabling_an_expired_key_reports_that_it_remains_expired() {
    let database = Database::sqlite();
    database.migrate();
    app_key(&database, "issue --name brief --ip any --expires 1s").succeeded();
    app_key(&database, "disable 1").succeeded();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ran = app_key(&database, "enable 1");
    assert!(ran.stderr.contains("The key is still rejected, because it expired at 20"), "{ran:?}");
    ran.succeeded();
    assert!(app_key(&database, "list").succeeded().trim_end().ends_with("expired"));
}

#[test]
fn an_expiry_is_a_duration_or_a_timestamp() {
    let database = Database::sqlite();
    database.migrate();
    let end_of = |written: &str| {
        let line = format!("issue --json --name n --ip any --expires {written}");
        let end = app_key(&database, &line).json()["expires_at"].clone();
        end.as_str().unwrap().parse::<DateTime<Utc>>().unwrap()
    };
    let day = 86_400;
    for (written, seconds) in [
        ("90s", 90),
        ("15m", 15 * 60),
        ("12h", 12 * 3600),
        ("90d", 90 * day),
        ("2w", 14 * day),
        ("365000d", 365_000 * day),
    ] {
        let before = Utc::now();
        let late = end_of(written) - before - TimeDelta::seconds(seconds);
        // The table has a precision of microseconds.
        assert!(late > TimeDelta::microseconds(-1), "{written}: {late}");
        assert!(late < TimeDelta::seconds(30), "{written}: {late}");
    }
    for (written, meant) in [
        ("2030-01-31T00:00:00Z", "2030-01-31T00:00:00Z"),
        ("2030-01-31T02:00:00.5+02:00", "2030-01-31T00:00:00.5Z"),
        ("2030-06-30T23:59:60Z", "2030-07-01T00:00:00Z"), // a leap second
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(end_of(written), meant.parse::<DateTime<Utc>>().unwrap());
    }
}

#[test]
fn revoking_without_a_terminal_does_not_ask() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let ran = app_key(&database, "revoke 1");
    assert!(!ran.all().contains("[y/N]"), "{ran:?}");
    ran.succeeded();
    assert_eq!(status(database.builder(), &key), 401);
}
