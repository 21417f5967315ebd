//! Responses and log lines.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, get, web};
use api_key_runtime::{AppKey, AppKeys, KeyLocation, require_app_key};

use crate::support::{
    Database, FakeStore, Fixtures, Server, fixtures, http, leaks, log, wait_until,
};

#[get("/answers/{id}")]
#[require_app_key]
async fn plain(_request: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().body("cake")
}

#[get("/scoped")]
#[require_app_key(scopes = "cakes:write cakes:delete")]
async fn scoped() -> HttpResponse {
    HttpResponse::Ok().body("cake")
}

#[get("/own-headers")]
#[require_app_key]
async fn own_headers() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("Cache-Control", "max-age=60"))
        .insert_header(("Vary", "Accept"))
        .body("cake")
}

#[get("/fails/{number}")]
#[require_app_key]
async fn fails(number: web::Path<u32>) -> Result<HttpResponse, actix_web::Error> {
    Err(actix_web::error::ErrorConflict(number.to_string()))
}

#[get("/upgrade")]
#[require_app_key]
async fn upgrade() -> HttpResponse {
    HttpResponse::SwitchingProtocols().upgrade("echo").finish()
}

#[get("/optional-scoped")]
#[require_app_key(optional, scopes = "cakes:write")]
async fn optional_scoped(_: Option<AppKey>) -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[get("/optional-mistaken")]
#[require_app_key(optional)]
async fn optional_mistaken(_: AppKey) -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[get("/no-attribute")]
async fn no_attribute(key: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(key.name().to_owned())
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(plain)
        .service(scoped)
        .service(own_headers)
        .service(fails)
        .service(upgrade)
        .service(optional_scoped)
        .service(optional_mistaken)
        .service(no_attribute);
}

/// Checks that a response has this status and a problem body, has no challenge, and must not be
/// cached.
fn assert_server_error(answer: &http::Response, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), None);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

// D3
#[test]
fn a_store_error_is_503_without_its_text() {
    let broken =
        FakeStore::failing("could not connect to db.internal:5432 as cakes: SELECT secret");
    let server = Server::start(AppKeys::builder().store(broken).build().unwrap(), routes);
    let answer = http::get_with(server.address, "/answers/1", &fixtures::unknown());
    assert_server_error(&answer, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let said = format!("{:?} {}", answer.headers, answer.text());
    for word in ["db.internal", "5432", "SELECT", "connect"] {
        assert!(!said.contains(word), "{said}");
    }
}

// D5
#[test]
fn guarded_responses_get_cache_headers_unless_they_set_them() {
    const DEFAULT: (Option<&str>, &[&str]) = (Some("private"), &["authorization, x-api-key"]);
    const NO_STORE: (Option<&str>, &[&str]) = (Some("no-store"), &["authorization, x-api-key"]);
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let keys = database.migrate().builder().key_locations([
        KeyLocation::bearer(),
        KeyLocation::header("X-API-Key"),
        KeyLocation::query("key"),
    ]);
    let server = Server::start(keys.build().unwrap(), routes);
    let bearer = format!("Authorization: Bearer {key}");
    let in_query = format!("/own-headers?key={key}");
    for (target, status, (cache_control, vary)) in [
        ("/answers/1", 200, DEFAULT),
        ("/own-headers", 200, (Some("max-age=60"), &["Accept", DEFAULT.1[0]][..])),
        ("/fails/1", 409, DEFAULT),
        ("/fails/not-a-number", 404, DEFAULT),
        ("/upgrade", 101, (None, &[])),
        (&in_query, 200, (NO_STORE.0, &["Accept", DEFAULT.1[0]])),
        ("/answers/1?key=bad", 401, NO_STORE),
    ] {
        let lines: &[&str] = if target.contains('?') { &[] } else { &[&bearer] };
        let answer = http::get(server.address, target, lines);
        let named = answer.headers.iter().filter(|(name, _)| name == "vary");
        let named: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        assert_eq!(answer.status, status, "{target}");
        assert_eq!((answer.header("cache-control"), &*named), (cache_control, vary), "{target}");
        let referrer = target.contains('?').then_some("no-referrer");
        assert_eq!(answer.header("referrer-policy"), referrer, "{target}");
    }
}

// K1
#[test]
fn a_configured_scheme_is_challenged_and_others_are_logged() {
    let database = Database::sqlite();
    let place = "/schemes";
    let builder = database.migrate().builder();
    let keys = builder.key_locations([KeyLocation::authorization("Api-Key")]).build().unwrap();
    let server = Server::configured(move |config| {
        config.service(web::scope(place).app_data(keys.clone()).configure(routes));
    });
    let (key, _) = database.issue("0.0.0.0");
    let get =
        |target: &str, line: &str| http::get(server.address, &format!("{place}{target}"), &[line]);
    assert_eq!(get("/answers/1", &format!("Authorization: api-key {key}")).status, 200);
    for (line, named) in [
        (format!("Authorization: Bearer {key}"), "no key, the scheme Bearer is not accepted, GET"),
        (format!("Authorization: {key}"), "no key, Authorization without a scheme is not accepted"),
        (format!("X-API-Key: {key}"), "no key, the header X-API-Key is not accepted, GET"),
    ] {
        let before = log::lines_with(place).len();
        let answer = get("/answers/1", &line);
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Api-Key realm=\"api\""));
        let lines = log::lines_with(place);
        assert!(lines[before..].iter().any(|line| line.contains(named)), "{named}: {lines:?}");
    }
    let lacking = get("/scoped", &format!("Authorization: Api-Key {key}"));
    assert_eq!(
        lacking.header("www-authenticate").unwrap(),
        "Api-Key realm=\"api\", error=\"insufficient_scope\", scope=\"cakes:write cakes:delete\""
    );
    // On an optional route, a request with another scheme is anonymous, which is logged once per
    // route.
    for _ in 0..2 {
        assert_eq!(get("/optional-scoped", &format!("Authorization: Basic {key}")).status, 200);
    }
    let lines = log::lines_with("/schemes/optional-scoped accepted a request without a key");
    assert!(lines.len() == 1 && lines[0].contains("the scheme Basic is not accepted"), "{lines:?}");
}

// B3, D1
#[test]
fn an_optional_route_checks_a_presented_key() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let with_key = |target| http::get_with(server.address, target, &key).status;
    let without = |target| http::get(server.address, target, &[]).status;
    assert_eq!([without("/optional-scoped"), with_key("/optional-scoped")], [200, 403]);
    assert_eq!(http::get_with(server.address, "/optional-scoped", "bad").status, 401);
    // This handler requires an `AppKey` although its route is optional.
    assert_eq!([without("/optional-mistaken"), with_key("/optional-mistaken")], [500, 200]);
    let lines = log::lines_with("the handler of /optional-mistaken takes an AppKey, but");
    assert_eq!(lines.len(), 1, "{lines:?}");
}

// D1, A12
#[test]
fn without_app_keys_the_handler_does_not_run() {
    let server = Server::configured(|config| {
        config.service(web::scope("/unconfigured").configure(routes));
    });
    let answer = http::get_with(server.address, "/unconfigured/answers/1", &fixtures::unknown());
    assert_server_error(&answer, 500);
    let lines = log::lines_with("/unconfigured/answers/{id}");
    assert!(lines.iter().any(|line| line.contains("no AppKeys in the application")), "{lines:?}");
}

// D1
#[test]
fn an_app_key_on_a_route_without_the_attribute_is_500() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    assert_server_error(&http::get_with(server.address, "/no-attribute", &key), 500);
    assert!(
        !log::lines_with("the handler of /no-attribute takes an AppKey, but no check of keys ran")
            .is_empty()
    );
}

// A10, G1, G4
#[test]
fn a_rejection_is_one_warning_without_the_key() {
    let database = Database::sqlite();
    let place = "/logged";
    let keys = database.keys();
    let server = Server::configured(move |config| {
        config.service(web::scope(place).app_data(keys.clone()).configure(routes));
    });
    let fixtures = Fixtures::new(&database);
    for (reason, key) in fixtures.invalid() {
        let before = log::lines_with(place).len();
        http::get_with(server.address, &format!("{place}/answers/1?q=secret-query"), key);
        let lines = log::lines_with(place);
        let [line] = &lines[before..] else { panic!("not one line: {:?}", &lines[before..]) };
        assert!(line.starts_with("WARN "), "{line}");
        assert!(
            line.contains(&format!("Unauthorized address trying to use API: 127.0.0.1 ({reason}")),
            "{line}"
        );
        assert!(line.contains(&format!("GET {place}/answers/{{id}})")), "{line}");
        assert_eq!(
            line.contains(&format!(" {}, GET", &key[..12])),
            reason != "unknown key",
            "{line}"
        );
        assert!(!line.contains("secret-query"), "{line}");
    }
    for (_, key) in fixtures.invalid() {
        for start in (8..key.len() - 8).filter(|start| *start >= 12) {
            assert!(
                log::lines_with(&key[start..start + 8]).is_empty(),
                "a piece of a key was logged"
            );
        }
    }
}

// D7
#[test]
fn an_own_rejection_body_changes_nothing_else() {
    let database = Database::sqlite();
    database.migrate();
    let keys = database
        .builder()
        .rejection_body(|class| {
            ("application/json", format!(r#"{{"status":"fail","data":"{class:?}"}}"#))
        })
        .build()
        .unwrap();
    let own = Server::start(keys, routes);
    let stock = Server::start(database.keys(), routes);
    let fixtures = Fixtures::new(&database);
    let bearer = |key: &str| format!("Authorization: Bearer {key}");
    let twice = [bearer(&fixtures.active), format!("X-API-Key: {}", fixtures.active)];
    let malformed = bearer("malformed");
    let mut cases: Vec<(&str, Vec<String>, &str)> = vec![
        ("/answers/1", vec![], "NoKey"),
        ("/answers/1", twice.to_vec(), "SeveralKeys"),
        ("/scoped", vec![bearer(&fixtures.active)], "MissingScope"),
        ("/answers/1", vec![malformed], "InvalidKey"),
    ];
    cases
        .extend(fixtures.invalid().map(|(_, key)| ("/answers/1", vec![bearer(key)], "InvalidKey")));
    for (target, headers, class) in cases {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let [mut own, mut stock] =
            [&own, &stock].map(|server| http::get(server.address, target, &headers).without_date());
        assert_eq!(own.text(), format!(r#"{{"status":"fail","data":"{class}"}}"#));
        assert_eq!(
            (own.status, own.header("content-type")),
            (stock.status, Some("application/json"))
        );
        for answer in [&mut own, &mut stock] {
            answer.headers.retain(|(name, _)| name != "content-type" && name != "content-length");
            answer.headers.sort();
        }
        assert_eq!(own.headers, stock.headers, "{class}");
    }
}

// G2, G3
#[test]
fn the_access_log_holds_no_key_and_no_raw_bytes() {
    let database = Database::sqlite();
    database.migrate();
    let keys = database
        .builder()
        .key_locations([KeyLocation::query("key"), KeyLocation::bearer()])
        .build()
        .unwrap();
    let (key, id) = database.issue("0.0.0.0");
    let server = Server::logged(keys, routes);
    for target in [
        format!("/answers/access-log?key={key}"),
        format!("/answers/access-log?x=1&%6bey={key}"),
        format!("/answers/access-log?other={key}"),
        format!("/answers/{key}?access-log"),
    ] {
        http::get(server.address, &target, &[]);
    }
    http::get(server.address, "/answers/access-log", &[&format!("Authorization: Bearer {key}")]);
    let lines = log::lines_with("access-log");
    let access: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("INFO app_key: ")).collect();
    assert_eq!(access.len(), 5, "{lines:?}");
    assert!(access[0].contains("GET /answers/access-log?key=[redacted] HTTP/1.1"), "{access:?}");
    assert!(access[3].contains("/answers/ak_live_[redacted]?access-log"), "{access:?}");
    let hint = &key[.."ak_live_".len() + 4];
    for (line, accepted) in access.iter().zip([true, true, false, false, true]) {
        let end = if accepted { format!(" key {id} {hint}") } else { " -".to_owned() };
        assert!(line.ends_with(&end), "{end}: {line}");
    }
    let body = &key["ak_live_".len() + 4..];
    for piece in (0..=body.len() - 8).map(|start| &body[start..start + 8]) {
        assert!(access.iter().all(|line| !line.contains(piece)), "{access:?}");
    }
}

// C1, C2, G2
#[test]
fn the_access_log_names_the_checked_client_ip() {
    let database = Database::sqlite();
    database.migrate();
    let forwarded = ["X-Forwarded-For: 192.0.2.9, 203.0.113.7"];
    for (trusted, target, named) in [
        (Some("127.0.0.1"), "/answers/behind-a-proxy", "203.0.113.7 "),
        (None, "/answers/behind-nothing", "127.0.0.1 "),
    ] {
        let builder = database.builder().trusted_proxies(trusted);
        let server = Server::logged(builder.build().unwrap(), routes);
        http::get(server.address, target, &forwarded);
        let lines = log::lines_with(target);
        let mut access = lines.iter().filter(|line| line.starts_with("INFO app_key: "));
        let line = access.next().expect("it was logged");
        assert!(line.contains(&format!("{named}\"GET")), "{line}");
        assert!(!line.contains("192.0.2.9"), "{line}");
    }
}

// G3
#[test]
fn a_logged_request_line_is_neither_decoded_nor_split() {
    let database = Database::sqlite();
    let server = Server::logged(database.keys(), routes);
    let target = r#"/answers/raw-%0aWARN%1b[31m"-200?raw-%0d%0a\"#;
    assert_eq!(http::get(server.address, target, &[]).status, 401);
    let lines = log::lines_with("/answers/raw-");
    let access: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("INFO app_key: ")).collect();
    assert_eq!(access.len(), 1, "{lines:?}");
    assert!(
        access[0].contains(r#""GET /answers/raw-%0aWARN%1b[31m\"-200?raw-%0d%0a\\ HTTP/1.1" 401 "#),
        "{access:?}"
    );
    assert!(lines.iter().all(|line| line.chars().all(|c| !c.is_control())), "{lines:?}");
}

// G4
#[test]
fn a_flood_of_rejections_logs_ten_lines_and_a_summary_a_second() {
    const REJECTIONS: usize = 237;
    let database = Database::sqlite();
    let keys = database.keys();
    let server = Server::configured(move |config| {
        config.service(web::scope("/flooded").app_data(keys.clone()).configure(routes));
    });
    let (key, id) = database.issue("0.0.0.0");
    database.execute(&format!("UPDATE api_keys SET allowed_ips = 'junk' WHERE id = {id}")).unwrap();
    let began = Instant::now();
    let mut client = http::Client::connect(server.address);
    for _ in 0..REJECTIONS {
        client.send(http::head("GET", "/flooded/answers/1", &[&format!("X-API-Key: {key}")]));
        assert_eq!(client.read(false).unwrap().status, 401);
    }
    let lines = log::lines_with("/flooded/answers/{id}").len();
    let took = began.elapsed();
    println!("{lines} lines for {REJECTIONS} rejections within {took:?}");
    // At most ten lines per second, including the last second, which may be incomplete.
    let most = 10 * (usize::try_from(took.as_secs()).unwrap() + 1);
    assert!((10..=most).contains(&lines), "{lines} lines, {took:?}");
    let suppressed = REJECTIONS - lines;
    wait_until("a summary has the number of lines left out", || {
        let summaries = log::lines_with(" more within a second (unreadable allow list)");
        let number = |line: &String| line.split(' ').find_map(|word| word.parse::<usize>().ok());
        let mut numbers = summaries.iter().filter_map(number);
        // On a slow machine, there are several summaries, one per second. The test then compares
        // the sum of their numbers.
        numbers.clone().any(|number| number == suppressed)
            || took > Duration::from_secs(1) && numbers.by_ref().sum::<usize>() >= suppressed
    });
}

// G1
#[test]
fn leaks_of_issued_keys_are_found() {
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let hex = if database.is_postgres() { "encode(digest, 'hex')" } else { "hex(digest)" };
    let digest = database.texts(&format!("SELECT {hex} FROM api_keys")).remove(0);
    for piece in [&key[20..28], &key[key.len() - 8..], &digest[..16], &digest[31..50]] {
        assert!(
            leaks::found_in(format!("somewhere {piece} within").as_bytes()),
            "the search does not find {piece}"
        );
    }
    assert!(!leaks::found_in(&key.as_bytes()[..12]), "the hint is not secret");
}
