//! A request is not parsed before its key is accepted: no extractor runs, and the body is not read.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Instant,
};

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, get, post, web};
use api_key_runtime::require_app_key;

use crate::support::{Database, Server, TEST_TIMEOUT, fixtures, http};

static CONSTRUCTED: AtomicUsize = AtomicUsize::new(0);
static POLLED: AtomicUsize = AtomicUsize::new(0);
static RAN: AtomicUsize = AtomicUsize::new(0);

/// An extractor that records its creation and its polls.
struct Probe;

struct Probing(Ready<Result<Probe, actix_web::Error>>);

impl Future for Probing {
    type Output = Result<Probe, actix_web::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        POLLED.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.0).poll(context)
    }
}

impl FromRequest for Probe {
    type Error = actix_web::Error;
    type Future = Probing;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Probing {
        CONSTRUCTED.fetch_add(1, Ordering::SeqCst);
        Probing(ready(Ok(Probe)))
    }
}

#[derive(serde::Deserialize)]
struct Cake {
    #[allow(dead_code, reason = "only whether it parses matters")]
    name: String,
}

#[post("/json")]
#[require_app_key]
async fn json(_: Probe, _: web::Json<Cake>) -> HttpResponse {
    RAN.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok().finish()
}

// The order of this attribute and the route attribute does not matter.
#[require_app_key]
#[post("/text")]
async fn text(_: Probe, body: String) -> HttpResponse {
    RAN.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok().body(body)
}

#[get("/query")]
#[require_app_key]
async fn query(_: Probe, _: web::Query<Cake>) -> HttpResponse {
    RAN.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok().finish()
}

#[get("/path/{id}")]
#[require_app_key]
async fn path(_: Probe, _: web::Path<u32>) -> HttpResponse {
    RAN.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(json).service(text).service(query).service(path);
}

/// Sends bytes on a new connection and returns the status. The response must come within
/// `TEST_TIMEOUT`.
fn status(server: &Server, bytes: &[&[u8]]) -> u16 {
    let started = Instant::now();
    let mut client = http::Client::connect(server.address);
    for part in bytes {
        client.send(part);
    }
    let status = client.read(false).expect("closed without a response").status;
    assert!(started.elapsed() < TEST_TIMEOUT, "the response took too long");
    status
}

fn post(target: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
    [http::head("POST", target, lines).as_bytes(), body].concat()
}

/// Returns requests that an extractor rejects, and requests whose body never ends.
fn broken(credential: &str) -> Vec<(&'static str, Vec<u8>)> {
    let is_json = "Content-Type: application/json";
    let huge = vec![b'a'; 3_000_000];
    vec![
        ("bad JSON", post("/json", &[credential, is_json, "Content-Length: 5"], b"{bad}")),
        (
            "a wrong content type",
            post("/json", &[credential, "Content-Type: text/plain", "Content-Length: 2"], b"{}"),
        ),
        ("a body of 3 MB", post("/text", &[credential, "Content-Length: 3000000"], &huge)),
        ("a missing query field", http::head("GET", "/query?other=1", &[credential]).into_bytes()),
        ("a bad path", http::head("GET", "/path/not-a-number", &[credential]).into_bytes()),
        (
            "a chunked body that never ends",
            post("/text", &[credential, "Transfer-Encoding: chunked"], b"5\r\nhello\r\n"),
        ),
        (
            "a body that never comes",
            post("/json", &[credential, is_json, "Content-Length: 100"], b""),
        ),
        (
            "a body announced with Expect",
            post("/json", &[credential, is_json, "Content-Length: 100", "Expect: nothing"], b""),
        ),
    ]
}

// B8
#[test]
fn without_a_valid_key_malformed_requests_get_401() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let unknown = format!("X-API-Key: {}", fixtures::unknown());
    for credential in ["X-Nothing: presented", &unknown, "X-API-Key: malformed"] {
        for (what, request) in broken(credential) {
            assert_eq!(status(&server, &[&request]), 401, "{what}, {credential}");
        }
    }
}

// B8
#[test]
fn no_extractor_is_made_before_the_key_is_accepted() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), |config| {
        config.service(probed);
    });
    assert_eq!(http::get(server.address, "/probed", &[]).status, 401);
    assert_eq!(http::get_with(server.address, "/probed", &fixtures::unknown()).status, 401);
    assert_eq!(
        [&PROBED_CONSTRUCTED, &PROBED_RAN].map(|count| count.load(Ordering::SeqCst)),
        [0, 0]
    );
    let (key, _) = database.issue("0.0.0.0");
    assert_eq!(http::get_with(server.address, "/probed", &key).status, 200);
    assert_eq!(
        [&PROBED_CONSTRUCTED, &PROBED_RAN].map(|count| count.load(Ordering::SeqCst)),
        [1, 1]
    );
}

static PROBED_CONSTRUCTED: AtomicUsize = AtomicUsize::new(0);
static PROBED_RAN: AtomicUsize = AtomicUsize::new(0);

/// An extractor like [`Probe`], with separate counters for the one test that needs exact counts.
struct OwnProbe;

impl FromRequest for OwnProbe {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        PROBED_CONSTRUCTED.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Self))
    }
}

#[get("/probed")]
#[require_app_key]
async fn probed(_: OwnProbe) -> HttpResponse {
    PROBED_RAN.fetch_add(1, Ordering::SeqCst);
    HttpResponse::Ok().finish()
}

// B8
#[test]
fn with_a_valid_key_the_extractors_report_their_errors() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let credential = format!("X-API-Key: {key}");
    let statuses: Vec<(&str, u16)> = broken(&credential)
        .into_iter()
        .take(5)
        .map(|(what, request)| (what, status(&server, &[&request])))
        .collect();
    assert_eq!(
        statuses,
        [
            ("bad JSON", 400),
            ("a wrong content type", 400),
            ("a body of 3 MB", 413),
            ("a missing query field", 400),
            ("a bad path", 404)
        ]
    );
    let good = post("/text", &[&credential, "Content-Length: 5"], b"hello");
    assert_eq!(status(&server, &[&good]), 200);
    assert!(
        CONSTRUCTED.load(Ordering::SeqCst) > 0
            && POLLED.load(Ordering::SeqCst) > 0
            && RAN.load(Ordering::SeqCst) > 0
    );
}
