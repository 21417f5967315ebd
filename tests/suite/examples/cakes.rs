//! The bakery: its output, and what its keys allow.

use std::{net::SocketAddr, process::Command, thread};

use api_key_runtime::admin::NewKey;
use serde_json::{Value, json};

use super::{Example, assert_no_piece_of, example, shell};
use crate::support::{
    Database, database_test, fixtures,
    http::{self, Client, Response},
};

/// The last text that `cakes` prints at every start.
const ANOTHER_KEY: &str =
    "cargo app-key issue --name me --ip 127.0.0.1 --scope cakes:write --scope cakes:delete";

impl Example {
    /// Starts `cakes` on a free port with the log level `trace`, and waits until it has printed its
    /// whole text.
    pub(crate) fn cakes(database: &Database) -> Self {
        let cakes = Self::spawn(
            example("cakes")
                .env("DATABASE_URL", database.url())
                .env("BIND", "127.0.0.1:0")
                .env("RUST_LOG", "trace"),
        );
        cakes.wait_until_printed(ANOTHER_KEY);
        cakes
    }

    /// Returns the address in the output.
    pub(crate) fn address(&self) -> SocketAddr {
        let printed = self.wait_until_printed(" (Ctrl-C stops it)");
        let (_, place) = printed.split_once("http://").unwrap();
        let (place, _) = place.split_once(' ').unwrap();
        place.parse().unwrap()
    }

    /// Returns the first key if it was printed. The key has a line of its own.
    fn first_key(&self) -> Option<String> {
        let printed = self.wait_until_printed("cargo app-key issue");
        printed.lines().find(|line| line.starts_with("ak_live_")).map(str::to_owned)
    }
}

/// Returns the `curl` lines, each with the status that the line before it announces.
fn lines_to_paste(printed: &str) -> Vec<(u16, String)> {
    let lines: Vec<&str> = printed.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[1].starts_with("curl "))
        .map(|pair| {
            let (_, status) = pair[0].rsplit_once('(').unwrap();
            let status = status.strip_suffix("):").unwrap().parse().unwrap();
            (status, pair[1].to_owned())
        })
        .collect()
}

/// Runs the lines in order. The output of each line must end with the announced status.
fn paste_lines(printed: &str) -> Vec<u16> {
    let curl = Command::new("curl").arg("--version").output();
    assert!(
        curl.is_ok_and(|output| output.status.success()),
        "this test pastes the lines that `cakes` prints, which need curl; install curl"
    );
    let mut statuses = Vec::new();
    for (status, line) in lines_to_paste(printed) {
        let shown = shell(&line, &[]);
        assert!(shown.trim_end().ends_with(&format!("  HTTP {status}")), "{line}\n{shown}");
        statuses.push(status);
    }
    statuses
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

fn post(address: SocketAddr, key: &str, content_type: &str, body: &str) -> Response {
    let head = http::head(
        "POST",
        "/api/v1/cakes",
        &[
            &bearer(key),
            &format!("Content-Type: {content_type}"),
            &format!("Content-Length: {}", body.len()),
        ],
    );
    let mut client = Client::connect(address);
    client.send(head).send(body);
    client.read(false).unwrap()
}

fn bake(address: SocketAddr, key: &str) -> Response {
    post(address, key, "application/x-www-form-urlencoded", "name=Carrot&price_cents=450")
}

fn body(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap()
}

fn issue(database: &Database, addresses: &str, scopes: &str) -> String {
    let new = NewKey::new("test").allow(addresses).unwrap().scopes(scopes).unwrap();
    database.issue_with(&new).0
}

const SCOPES: &str = "cakes:write cakes:delete";

// A10, A12, G1, G2
database_test!(the_first_start_prints_a_key_and_commands_that_work, |database: Database| {
    let cakes = Example::cakes(&database);
    let printed = cakes.wait_until_printed(ANOTHER_KEY);
    let key = cakes.first_key().expect("the first start prints a key");
    assert_eq!(key.len(), "ak_live_".len() + 44, "{printed}");
    let statuses = paste_lines(&printed);
    assert_eq!(statuses, [200, 401, 201, 201, 401, 200, 200]);
    assert_eq!(database.texts("SELECT name FROM cakes"), ["Lemon"]);
    let log = cakes.wait_until_logged("\"DELETE /api/v1/cakes/1 HTTP/1.1\" 200");
    assert!(log.contains("\"GET /whoami?key=[redacted] HTTP/1.1\" 200"), "{log}");
    assert_no_piece_of(&key, &log);
    drop(cakes);

    let again = Example::cakes(&database);
    assert_eq!(again.first_key(), None);
    let printed = again.wait_until_printed(ANOTHER_KEY);
    assert_eq!(lines_to_paste(&printed), []);
    assert_no_piece_of(&key, &printed);
    assert_eq!(
        http::get_with(again.address(), "/whoami", &key).status,
        200,
        "the first key remains valid"
    );
});

// A12
database_test!(every_installation_has_a_different_first_key, |database: Database| {
    let other = Database::sqlite();
    let (here, there) = (Example::cakes(&database), Example::cakes(&other));
    let (one, two) = (here.first_key().unwrap(), there.first_key().unwrap());
    assert_ne!(one, two);
    assert_eq!(
        http::get_with(here.address(), "/whoami", &two).status,
        401,
        "the key of another installation is invalid"
    );
    assert_eq!(http::get_with(here.address(), "/whoami", &one).status, 200);
});

// F14
database_test!(two_processes_start_at_once_on_a_fresh_database, |database: Database| {
    drop(example("cakes"));
    let both = thread::scope(|scope| {
        [(); 2]
            .map(|()| scope.spawn(|| Example::cakes(&database)))
            .map(|starting| starting.join().unwrap())
    });
    let keys: Vec<String> = both.iter().filter_map(Example::first_key).collect();
    assert!((1..=2).contains(&keys.len()), "{}", keys.len());
    assert_eq!(database.rows().len(), keys.len());
    for example in &both {
        for key in &keys {
            assert_eq!(bake(example.address(), key).status, 201);
        }
    }
});

database_test!(a_key_allows_only_what_its_scopes_allow, |database: Database| {
    let any = issue(&database, "127.0.0.1", "");
    let writer = issue(&database, "127.0.0.1", "cakes:write");
    let both = issue(&database, "127.0.0.1", SCOPES);
    let cakes = Example::cakes(&database);
    assert_eq!(cakes.first_key(), None, "the table has keys already");
    let address = cakes.address();
    let delete =
        |key: &str| http::request(address, "DELETE", "/api/v1/cakes/1", &[&bearer(key)]).status;
    assert_eq!(bake(address, &any).status, 403);
    assert_eq!(bake(address, &writer).status, 201);
    assert_eq!(delete(&any), 403);
    assert_eq!(delete(&writer), 403);
    assert_eq!(http::get(address, "/api/v1/cakes/1", &[]).status, 200);
    assert_eq!(delete(&both), 200);
    assert_eq!(delete(&both), 404);
    assert_eq!(http::get(address, "/api/v1/cakes/1", &[]).status, 404);
    for route in ["/version", "/whoami"] {
        assert_eq!(http::get_with(address, route, &any).status, 200, "{route}");
        let mistyped = fixtures::mistyped(&any);
        assert_eq!(http::get_with(address, route, &mistyped).status, 401);
        assert_eq!(http::get(address, route, &[]).status, 401, "{route}");
    }
    for route in ["/", "/health", "/api/v1/cakes"] {
        assert_eq!(http::get(address, route, &[]).status, 200, "{route}");
    }
});

// G1, G4
database_test!(a_wrong_address_is_one_warning_without_the_key, |database: Database| {
    let key = issue(&database, "203.0.113.7", SCOPES);
    let cakes = Example::cakes(&database);
    assert_eq!(bake(cakes.address(), &key).status, 401);
    let log = cakes.wait_until_logged("\"POST /api/v1/cakes HTTP/1.1\" 401");
    let is_rejection = |line: &&str| line.contains("WARN") && line.contains("Unauthorized address");
    let warnings: Vec<&str> = log.lines().filter(is_rejection).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let hint = &key[.."ak_live_".len() + 4];
    assert!(
            warnings[0].ends_with(&format!(
                "Unauthorized address trying to use API: 127.0.0.1 (address not allowed, key 1 {hint}, POST /api/v1/cakes)"
            )),
            "{warnings:?}"
        );
    assert_no_piece_of(&key, &log);
    assert_eq!(database.texts("SELECT name FROM cakes"), Vec::<String>::new());
});

// D1, D7
database_test!(every_response_is_jsend, |database: Database| {
    let key = issue(&database, "127.0.0.1", SCOPES);
    let powerless = issue(&database, "127.0.0.1", "");
    let cakes = Example::cakes(&database);
    let address = cakes.address();
    let json = |text: &str| post(address, &key, "application/json", text);
    let form = |text: &str| post(address, &key, "application/x-www-form-urlencoded", text);
    let success = |data: Value| json!({ "status": "success", "data": data });
    let fail = |about: &str, why: &str| json!({ "status": "fail", "data": { about: why } });
    let carrot = json!({ "id": 1, "name": "Carrot", "price_cents": 450 });
    let lemon = json!({ "id": 2, "name": "Lemon", "price_cents": 390 });
    let not_a_cake = fail(
        "body",
        "a cake has only a `name` and a `price_cents`: send both as JSON or as a form",
    );
    let no_name = fail("name", "a name has 1 to 100 characters");
    let no_price = fail("price_cents", "a price is 0 to 1000000 cents");
    let no_such_cake = fail("cake", "there is no such cake");
    let long = "x".repeat(101);
    for (answer, status, expected) in [
        (form("name=Carrot&price_cents=450"), 201, success(json!({ "cake": carrot }))),
        (json(r#"{"name":"Lemon","price_cents":390}"#), 201, success(json!({ "cake": lemon }))),
        (
            http::get(address, "/api/v1/cakes", &[]),
            200,
            success(json!({ "cakes": [lemon, carrot] })),
        ),
        (http::get(address, "/api/v1/cakes/1", &[]), 200, success(json!({ "cake": carrot }))),
        (http::get(address, "/health", &[]), 200, success(json!(null))),
        (
            http::get_with(address, "/version", &key),
            200,
            success(json!({ "version": env!("CARGO_PKG_VERSION") })),
        ),
        (
            http::get_with(address, "/whoami", &key),
            200,
            success(
                json!({ "id": 1, "name": "test", "owner": null, "scopes": SCOPES, "address": "127.0.0.1" }),
            ),
        ),
        (json("{"), 400, not_a_cake.clone()),
        (json(r#"{"name":"Plum","price_cents":1,"id":7}"#), 400, not_a_cake.clone()),
        (form("name=Plum"), 400, not_a_cake.clone()),
        (post(address, &key, "text/plain", "name=Plum&price_cents=1"), 400, not_a_cake),
        (form("name=+&price_cents=1"), 400, no_name.clone()),
        (form("name=a%00b&price_cents=1"), 400, no_name.clone()),
        (form(&format!("name={long}&price_cents=1")), 400, no_name),
        (form("name=Plum&price_cents=-1"), 400, no_price.clone()),
        (form("name=Plum&price_cents=1000001"), 400, no_price),
        (form(&"x".repeat(16 * 1024 + 1)), 413, fail("request", "payload reached size limit")),
        (http::get(address, "/nowhere", &[]), 404, fail("request", "Not Found")),
        (http::get(address, "/api/v1/cakes/99", &[]), 404, no_such_cake.clone()),
        (http::get(address, "/api/v1/cakes/carrot", &[]), 404, no_such_cake),
        (http::get(address, "/whoami", &[]), 401, fail("key", "This resource needs an API key.")),
        (
            http::get_with(address, "/whoami", &fixtures::unknown()),
            401,
            fail("key", "The API key is not valid here."),
        ),
        (
            http::get(address, "/whoami", &[&bearer(&key), &bearer(&key)]),
            400,
            fail("key", "Present exactly one API key."),
        ),
        (
            bake(address, &powerless),
            403,
            fail("key", "The API key lacks a scope that this resource needs."),
        ),
    ] {
        assert_eq!((answer.status, body(&answer)), (status, expected));
    }
    let front_page = http::get(address, "/", &[]);
    assert_eq!(front_page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(front_page.text().contains("<h1>Cakes</h1>"));
});

database_test!(a_failed_query_is_logged_but_not_shown_to_the_caller, |database: Database| {
    let cakes = Example::cakes(&database);
    database.execute("DROP TABLE cakes").unwrap();
    let answer = http::get(cakes.address(), "/api/v1/cakes", &[]);
    assert_eq!(answer.status, 500);
    assert_eq!(body(&answer), json!({ "status": "error", "message": "the database failed" }));
    let log = cakes.wait_until_logged("a query failed: ");
    assert!(
        log.contains("cakes\" does not exist") || log.contains("no such table: cakes"),
        "{log}"
    );
});

#[test]
fn a_taken_port_is_reported_and_no_key_is_issued() {
    let database = Database::sqlite();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let mut cakes =
        Example::spawn(example("cakes").env("DATABASE_URL", database.url()).env("BIND", &bind));
    assert_eq!(cakes.wait_for_its_end().code(), Some(1));
    let logged = cakes.logged.lock().unwrap().clone();
    assert!(logged.contains(&format!("cakes: {bind} is in use")), "{logged}");
    assert!(logged.contains("BIND=127.0.0.1:"), "{logged}");
    assert_eq!(*cakes.printed.lock().unwrap(), "");
    assert!(database.rows().is_empty());
}

// F8
#[test]
fn an_unusable_setting_is_reported_and_prevents_the_start() {
    let database = Database::sqlite();
    let closed_port = "postgres://127.0.0.1:1/cakes";
    for (settings, said) in [
        (vec![], "DATABASE_URL is not set"),
        (vec![("DATABASE_URL", closed_port)], "cannot connect to Postgres at 127.0.0.1:1/cakes"),
        (vec![("DATABASE_URL", ":memory:")], "does not name a file"),
        (
            vec![("DATABASE_URL", database.url()), ("BIND", "8080")],
            "set BIND to an address and a port",
        ),
        (vec![("DATABASE_URL", database.url()), ("APP_KEY_PEPPER", "x")], "invalid APP_KEY_PEPPER"),
    ] {
        let mut cakes =
            Example::spawn(example("cakes").env("BIND", "127.0.0.1:0").envs(settings.clone()));
        assert_eq!(cakes.wait_for_its_end().code(), Some(1), "{settings:?}");
        let logged = cakes.logged.lock().unwrap().clone();
        assert!(
            logged.lines().any(|line| line.starts_with("cakes: ") && line.contains(said)),
            "{logged}"
        );
        assert_eq!(*cakes.printed.lock().unwrap(), "");
    }
}

#[test]
fn a_stop_signal_lets_the_current_request_finish() {
    let database = Database::sqlite();
    let key = issue(&database, "127.0.0.1", SCOPES);
    for signal in ["INT", "TERM"] {
        let mut cakes = Example::cakes(&database);
        let body = "name=Carrot&price_cents=450";
        let (begun, rest) = body.split_at(9);
        let head = http::head(
            "POST",
            "/api/v1/cakes",
            &[
                &bearer(&key),
                "Content-Type: application/x-www-form-urlencoded",
                &format!("Content-Length: {}", body.len()),
                "Expect: 100-continue",
            ],
        );
        let mut client = Client::connect(cakes.address());
        client.send(head);
        let interim = client.read(false).expect("the server waits for the body");
        assert_eq!(interim.status, 100, "{signal}");
        client.send(begun);
        cakes.signal(signal);
        cakes.wait_until_logged("graceful worker shutdown; finishing 1 connections");
        client.send(rest);
        let answer = client.read(false).expect("the request gets a response");
        assert_eq!(answer.status, 201, "{signal}");
        assert!(cakes.wait_for_its_end().success(), "{signal}");
        assert!(cakes.logged.lock().unwrap().contains("stopped"));
    }
}
