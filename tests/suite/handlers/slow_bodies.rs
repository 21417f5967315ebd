//! Requests whose body arrives after their key was checked.

use actix_web::{HttpResponse, post, web};
use api_key_runtime::{AppKey, require_app_key};

use super::{ran, runs};
use crate::support::{
    CountedServer, Database, TEST_TIMEOUT, database_test, fixtures, http, wait_until,
};

#[post("/slow/upload")]
#[require_app_key]
async fn upload(body: web::Bytes, _key: AppKey) -> HttpResponse {
    ran("/slow/upload");
    HttpResponse::Ok().body(body)
}

#[post("/slow/optional")]
#[require_app_key(optional)]
async fn optional(body: web::Bytes) -> HttpResponse {
    ran("/slow/optional");
    HttpResponse::Ok().body(body)
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(upload).service(optional);
}

/// Sends a request without its body.
fn begin(server: &CountedServer, target: &str, key: Option<&str>) -> http::Client {
    let mut client = http::Client::connect(server.address);
    let key = key.map(|key| format!("X-API-Key: {key}"));
    let lines: Vec<&str> = ["Content-Length: 4"].into_iter().chain(key.as_deref()).collect();
    client.send(http::head("POST", target, &lines));
    client
}

// E18
database_test!(a_key_that_ends_while_the_body_arrives_is_rejected, |database: Database| {
    let keys = database.keys();
    let before = runs("/slow/upload");
    for columns in [
        "revoked_at = '2001-01-01 00:00:00+00:00'",
        "disabled_at = '2001-01-01 00:00:00+00:00'",
        "expires_at = '2001-01-01 00:00:00+00:00'",
        "allowed_ips = '203.0.113.7'",
    ] {
        let server = CountedServer::start(keys.clone(), routes);
        let (key, id) = database.issue("0.0.0.0");
        let mut late = begin(&server, "/slow/upload", Some(&key));
        server.wait_for(1);
        database.set(id, columns);
        let header = format!("X-API-Key: {key}");
        wait_until("the change is applied", || {
            let lines = ["Content-Length: 0", header.as_str()];
            http::request(server.address, "POST", "/slow/optional", &lines).status == 401
        });
        late.send("body");
        assert_eq!(late.read(false).unwrap().status, 401, "{columns}");
    }
    assert_eq!(runs("/slow/upload"), before, "a handler ran");
});

// E18
#[test]
fn a_request_that_is_checked_twice_counts_once() {
    let database = Database::sqlite();
    let keys = database.keys();
    let server = CountedServer::start(keys.clone(), routes);
    let (key, id) = database.issue("0.0.0.0");
    let mut rejected = begin(&server, "/slow/optional", Some(&fixtures::unknown()));
    assert_eq!(rejected.read(false).unwrap().status, 401);
    let mut waiting = [None, Some(key.as_str())].map(|key| begin(&server, "/slow/optional", key));
    server.wait_for(3);
    for client in &mut waiting {
        client.send("body");
        assert_eq!(client.read(false).unwrap().text(), "body");
    }
    let metrics = keys.metrics();
    assert_eq!((metrics.accepted_without_key(), metrics.accepted()), (1, 1));
    keys.flush_usage(TEST_TIMEOUT).unwrap();
    assert_eq!(database.admin().usage(id).unwrap().unwrap().count, 1);
}
