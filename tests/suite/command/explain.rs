//! `app-key explain`, compared with the responses of a service.

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{
    AppKeysBuilder,
    admin::{KeyChanges, NewKey},
    require_app_key,
};
use serde_json::{Value, json};

use super::{app_key, by_key::given};
use crate::support::{Database, Server, database_test, http};

const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";

#[get("/scoped")]
#[require_app_key(scopes = "cakes:read cakes:write", any_scope = "a b")]
async fn scoped_cake() -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// The arguments that describe a request from the tests to `scoped_cake`.
const REQUEST: &str =
    "--ip 127.0.0.1 --scope cakes:read --scope cakes:write --any-scope a --any-scope b --json";

fn routes(config: &mut web::ServiceConfig) {
    config.service(scoped_cake);
}

/// Returns the reason that a service records when it rejects a key, and the status.
fn answer(builder: AppKeysBuilder, key: &str) -> (Option<String>, u16) {
    let keys = builder.build().unwrap();
    let server = Server::start(keys.clone(), routes);
    let status = http::get_with(server.address, "/scoped", key).status;
    let rejected = keys.metrics().rejected().find(|(_, count)| *count > 0);
    (rejected.map(|(reason, _)| reason.as_str().to_owned()), status)
}

/// Returns the output of `app-key explain`. Checks that the reason is that of the first failed
/// rule, and that the exit code is 3 if a rule failed.
fn explain(database: &Database, settings: &[(&str, &str)], id: &str, key: &str) -> Value {
    let ran = given(database, settings, &format!("explain {id} {REQUEST}"), key);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, Some(if object["accepted"] == true { 0 } else { 3 }), "{ran:?}");
    let rules = object["rules"].as_array().unwrap();
    let failed = rules.iter().find(|rule| rule["passed"] == false);
    let reason = failed.map_or(&Value::Null, |rule| &rule["reason"]);
    assert_eq!(reason, &object["reason"], "{object}");
    object
}

// I4: The verdict and the reason equal those of the service, for a key id and for the key itself.
database_test!(explain_gives_the_verdict_of_the_service, |database: Database| {
    let admin = database.migrate().admin();
    let issue = |ip: &str, scopes: &str| {
        let new = NewKey::new("billing").allow(ip).unwrap().scopes(scopes).unwrap();
        database.issue_with(&new)
    };
    let all = "cakes:read cakes:write b";
    let good = issue("127.0.0.0/8", all);
    let other_ip = issue("10.0.0.0/8", all);
    let no_scope = issue("0.0.0.0", "cakes:read a");
    let no_any = issue("0.0.0.0", "cakes:read cakes:write");
    let disabled = issue("0.0.0.0", all);
    admin.disable(disabled.1).unwrap();
    let revoked = issue("0.0.0.0", all);
    admin.revoke(revoked.1).unwrap();
    let expired = issue("0.0.0.0", all);
    let soon = KeyChanges::new().expires_in(std::time::Duration::from_millis(1));
    admin.update(expired.1, &soon).unwrap();
    let unreadable = issue("10.0.0.1", all);
    database.set(unreadable.1, "allowed_ips = '010.0.0.1'");
    std::thread::sleep(std::time::Duration::from_millis(5));
    for ((key, id), reason) in [
        (&good, None),
        (&other_ip, Some("address not allowed")),
        (&no_scope, Some("scope missing")),
        (&no_any, Some("scope missing")),
        (&disabled, Some("disabled")),
        (&revoked, Some("revoked")),
        (&expired, Some("expired")),
        (&unreadable, Some("unreadable allow list")),
    ] {
        let (seen, status) = answer(database.builder(), key);
        assert_eq!(seen.as_deref(), reason, "{id}");
        for explained in
            [explain(&database, &[], &id.to_string(), ""), explain(&database, &[], "-", key)]
        {
            assert_eq!(explained["reason"], json!(reason), "{explained}");
            assert_eq!(explained["key"]["id"], json!(id));
            let expected = reason.map(|_| status);
            assert_eq!(explained["status"], json!(expected), "{explained}");
        }
    }
});

// I4: Malformed and unknown keys are explained as rejected, and are not errors of the command.
database_test!(explain_rejects_malformed_and_unknown_keys, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let typo = format!("{}{}", &key[..key.len() - 1], if key.ends_with('x') { 'y' } else { 'x' });
    let uuid = "2f1b8a4e-8d3c-4c57-9a6e-0d9b1f3c7e21";
    let imported = [("APP_KEY_ACCEPT_IMPORTED", "1")];
    for (settings, text, reason) in [
        (&[][..], typo.as_str(), "malformed"),
        (&imported[..], &typo, "malformed"),
        (&[], uuid, "malformed"),
        (&imported, uuid, "unknown key"),
        (&imported, "two words", "malformed"),
    ] {
        let explained = explain(&database, settings, "-", text);
        assert_eq!((&explained["reason"], &explained["key"]), (&json!(reason), &Value::Null));
        let builder = database.builder().accept_imported_keys(!settings.is_empty());
        assert_eq!(answer(builder, text), (Some(reason.to_owned()), 401), "{text}");
    }
    let other_pepper = [("APP_KEY_PEPPER", PEPPER)];
    for text in ["", &key] {
        let id = if text.is_empty() { id.to_string() } else { "-".to_owned() };
        let explained = explain(&database, &other_pepper, &id, text);
        assert_eq!(explained["reason"], "unknown key", "{explained}");
    }
    app_key(&database, "explain 99 --ip 127.0.0.1").refused("key 99 does not exist");
});

/// I4: Without `--json` the verdict is the first line, and each rule has a line.
#[test]
fn explain_prints_the_verdict_and_each_rule() {
    let database = Database::sqlite();
    let (key, _) = database.issue("10.0.0.0/8");
    let ran = given(&database, &[], "explain --ip 203.0.113.7 --scope a", &key);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let hint = &key[.."ak_live_".len() + 4];
    assert_eq!(
        ran.stdout,
        format!(
            "rejected: key 1 {hint} (test): address not allowed (status 401)\n\
             \x20 passed  format\n\
             \x20 passed  found              key 1, digest sha256\n\
             \x20 passed  not revoked\n\
             \x20 passed  not disabled\n\
             \x20 passed  not expired        never expires\n\
             \x20 failed  client IP allowed  address not allowed: 203.0.113.7 is not in 10.0.0.0/8\n\
             \x20 failed  scopes             scope missing: lacks a\n"
        )
    );
    let ran = app_key(&database, "explain 1 --ip 10.1.2.3").succeeded();
    assert!(ran.starts_with(&format!("accepted: key 1 {hint} (test)\n")), "{ran}");
    assert!(ran.contains("10.1.2.3 is allowed by 10.0.0.0/8"), "{ran}");
}
