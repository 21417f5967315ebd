//! Tests of the client IP that need special peer addresses or special settings of the service.

use std::net::SocketAddr;

use actix_web::{App, HttpResponse, get, http::StatusCode, rt::System, test, web};
use api_key_runtime::{AppKey, AppKeys, require_app_key};

use crate::support::{Database, Server, database_test, log};

#[get("/from")]
#[require_app_key]
async fn from(key: AppKey) -> HttpResponse {
    HttpResponse::Ok()
        .body(key.client_ip().map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()))
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(from);
}

/// Returns the response to a request from this peer with these header lines.
fn forwarded(
    keys: &AppKeys,
    peer: Option<&str>,
    key: &str,
    lines: &[(&str, &str)],
) -> (StatusCode, String) {
    System::new().block_on(async {
        let app = test::init_service(App::new().app_data(keys.clone()).configure(routes)).await;
        let mut request = test::TestRequest::get().uri("/from").insert_header(("X-API-Key", key));
        for line in lines {
            request = request.append_header(*line);
        }
        if let Some(peer) = peer {
            request = request.peer_addr(SocketAddr::new(peer.parse().unwrap(), 1234));
        }
        let response = test::call_service(&app, request.to_request()).await;
        let status = response.status();
        (status, String::from_utf8(test::read_body(response).await.to_vec()).unwrap())
    })
}

// C12
database_test!(an_unreadable_allow_list_rejects_and_logs_an_error, |database: Database| {
    let keys = database.keys();
    let _server = Server::start(keys.clone(), routes);
    let (key, id) = database.issue("127.0.0.1");
    let kind = if database.is_postgres() { "postgres" } else { "sqlite" };
    let list = format!("127.0.0.1 junk-on-{kind}");
    let update = format!("UPDATE api_keys SET allowed_ips = '{list}' WHERE id = {id}");
    database.execute(&update).unwrap();
    assert_eq!(forwarded(&keys, Some("127.0.0.1"), &key, &[]).0, 401);
    let lines = log::lines_with(&list);
    assert!(
        lines.iter().any(|line| line.starts_with("ERROR") && line.contains(&format!("key {id} "))),
        "{lines:?}"
    );
});

// C13
#[::core::prelude::v1::test]
fn a_listener_without_peer_addresses_can_be_a_trusted_proxy() {
    let database = Database::sqlite();
    database.migrate();
    let (any, _) = database.issue("0.0.0.0");
    let (bound, _) = database.issue("203.0.113.7");
    let line = [("X-Forwarded-For", "203.0.113.7")];
    let undeclared = database.builder().build().unwrap();
    assert_eq!(forwarded(&undeclared, None, &bound, &line).0, 401);
    assert_eq!(forwarded(&undeclared, None, &any, &line), (StatusCode::OK, "unknown".to_owned()));
    let declared = database.builder().trust_unix_socket(true).build().unwrap();
    assert_eq!(forwarded(&declared, None, &bound, &line).0, 200);
    assert_eq!(forwarded(&declared, None, &bound, &[]).0, 401);
}

// C15
#[::core::prelude::v1::test]
fn trusting_every_address_prevents_startup() {
    let database = Database::sqlite();
    database.migrate();
    for wide in ["0.0.0.0/0", "10.0.0.0/7", "::/0", "junk"] {
        assert!(
            database.builder().trusted_proxies([wide]).build().unwrap_err().is_config(),
            "{wide}"
        );
    }
    assert!(
        database.builder().forwarded_header("X-Real-IP").build().unwrap_err().is_config(),
        "a header without a proxy that is trusted to set it"
    );
}

// C1, C3
#[::core::prelude::v1::test]
fn a_missing_trusted_proxy_is_logged_once() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (bound, _) = database.issue("203.0.113.7");
    log::install();
    let hints = || log::lines_with("the client IP 192.168.77.1, a private address").len();
    for _ in 0..3 {
        forwarded(&keys, Some("192.168.77.1"), &bound, &[("X-Forwarded-For", "203.0.113.7")]);
    }
    assert_eq!(hints(), 1);

    let configured = (database.builder().trusted_proxies(["192.168.78.1"])).build().unwrap();
    let caller = [("X-Forwarded-For", "192.168.79.5")];
    forwarded(&configured, Some("192.168.78.1"), &bound, &caller);
    let lines = |text: &str| log::lines_with(text).len();
    assert_eq!(lines("trying to use API: 192.168.79.5 (address not allowed"), 1);
    assert_eq!(lines("the client IP 192.168.79.5"), 0, "the proxy is configured");
}
