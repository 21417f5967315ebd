//! Keys that expire soon: the header for their callers, and the log line for their operator.

use std::time::Duration;

use actix_web::{HttpResponse, error::ErrorBadRequest, get, web};
use api_key_runtime::{AppKeys, RequireAppKey, admin::NewKey, require_app_key};
use chrono::{DateTime, Utc};

use super::{DAY, ago};
use crate::support::{Database, Server, TEST_TIMEOUT, database_test, http, log, wait_until};

#[get("/cake")]
#[require_app_key]
async fn cake() -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[get("/error")]
#[require_app_key]
async fn error() -> actix_web::Result<HttpResponse> {
    Err(ErrorBadRequest("no"))
}

#[get("/optional")]
#[require_app_key(optional)]
async fn optional() -> HttpResponse {
    HttpResponse::Ok().finish()
}

async fn plain() -> HttpResponse {
    HttpResponse::Ok().finish()
}

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config.service((cake, error, optional)).service(
        web::scope("/middleware")
            .wrap(RequireAppKey::new())
            .service(cake)
            .route("/plain", web::get().to(plain)),
    );
}

const TARGETS: [&str; 6] =
    ["/cake", "/error", "/optional", "/middleware/cake", "/middleware/plain", "/middleware/none"];
const HEADER: &str = "x-api-key-expires";

fn serve(keys: &AppKeys) -> Server {
    Server::start(keys.clone(), routes)
}

// I5
#[test]
fn an_accepted_caller_can_be_told_when_its_key_expires() {
    let database = Database::sqlite();
    let end: DateTime<Utc> = "2400-02-06T08:49:37.9Z".parse().unwrap();
    let (key, id) = database.migrate().issue_with(&NewKey::new("n").allow_any().expires_at(end));
    let (endless, _) = database.issue("0.0.0.0");
    let silent = serve(&database.keys());
    let server = serve(&database.builder().expiry_header(true).build().unwrap());
    for target in TARGETS {
        for _ in 0..2 {
            let response = http::get_with(server.address, target, &key);
            let expires = response.header(HEADER);
            assert_eq!(expires, Some("Sun, 06 Feb 2400 08:49:37 GMT"), "{target}");
        }
        for (server, key) in [(&silent, &key), (&server, &endless)] {
            assert_eq!(http::get_with(server.address, target, key).header(HEADER), None);
        }
        assert_eq!(http::get(server.address, target, &[]).header(HEADER), None, "{target}");
    }
    database.revoke_by_sql(id);
    wait_until("the revocation", || http::get_with(server.address, "/cake", &key).status == 401);
    for target in TARGETS {
        assert_eq!(http::get_with(server.address, target, &key).header(HEADER), None);
    }
}

// I5
database_test!(a_used_key_that_expires_soon_is_logged_once_a_day, |database: Database| {
    let keys = database.migrate().builder().trusted_proxies(["127.0.0.1"]).build().unwrap();
    let server = serve(&keys);
    let issue = |days: u32| {
        let new = NewKey::new("expiring").allow_any().expires_in(days * DAY);
        let (key, id) = database.issue_with(&new);
        (key.clone(), id, format!("key {id} {} ", &key[..12]))
    };
    let (soon, late, short, unused) = (issue(5), issue(30), issue(5), issue(5));
    for (_, id, _) in [&soon, &late, &unused] {
        database.set(*id, &format!("created_at = {}", ago(90 * 24)));
    }
    for round in 0..3 {
        for (key, ..) in [&soon, &late, &short] {
            let lines = [&*format!("X-API-Key: {key}"), "X-Forwarded-For: 203.0.113.7"];
            assert_eq!(http::get(server.address, "/cake", &lines).status, 200);
        }
        keys.flush_usage(TEST_TIMEOUT).unwrap();
        let lines = log::lines_with(&soon.2);
        assert_eq!(lines.len(), 1, "round {round}: {lines:?}");
    }
    let line = log::lines_with(&soon.2).remove(0);
    assert!(line.starts_with("WARN app_key: key "), "{line}");
    let end = database.admin().get(soon.1).unwrap().expires_at.unwrap();
    let day = end.format("expires at %Y-%m-%dT").to_string();
    for part in [&*day, "last from 203.0.113.7", &format!("app-key show {}", soon.1)] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for (_, _, quiet) in [late, short, unused] {
        assert_eq!(log::lines_with(&quiet), [""; 0]);
    }
    keys.close(Duration::from_secs(10)).unwrap();
});

// I5
#[test]
fn a_key_that_expired_after_its_last_use_is_not_logged() {
    let database = Database::sqlite();
    let builder = database.migrate().builder().usage_flush_interval(TEST_TIMEOUT);
    let keys = builder.build().unwrap();
    let server = serve(&keys);
    let lifetime = Duration::from_secs(2);
    let (key, id) = database.issue_with(&NewKey::new("n").allow_any().expires_in(lifetime));
    database.set(id, &format!("created_at = {}", ago(90 * 24)));
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 200);
    wait_until("the expiry", || http::get_with(server.address, "/cake", &key).status == 401);
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    assert!(database.admin().usage(id).unwrap().is_some());
    assert_eq!(log::lines_with(&format!("key {id} {} ", &key[..12])), [""; 0]);
}
