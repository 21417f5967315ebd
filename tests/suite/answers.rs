//! What is answered and logged.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, get, head, web};
use api_key_runtime::{AppKey, AppKeys, NewKey, require_app_key};

use crate::support::{
    Database, FakeStore, Fixtures, Server, database_test, fixtures, http, leaks, log, wait_until,
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

#[get("/any")]
#[require_app_key(any_scope = "cakes:write cakes:read")]
async fn any() -> HttpResponse {
    HttpResponse::Ok().body("cake")
}

#[head("/head")]
#[require_app_key]
async fn head() -> HttpResponse {
    HttpResponse::Ok().finish()
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

#[get("/no-attribute")]
async fn no_attribute(key: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(key.name().to_owned())
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(plain)
        .service(scoped)
        .service(any)
        .service(head)
        .service(own_headers)
        .service(fails)
        .service(upgrade)
        .service(no_attribute);
}

/// What every refusal carries.
fn assert_refusal(answer: &http::Response, status: u16, challenge: Option<&str>) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), challenge);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["detail", "status", "title", "type"]);
    assert_eq!(
        (body["status"].as_u64(), body["type"].as_str()),
        (Some(status.into()), Some("about:blank"))
    );
}

// D1, D4
database_test!(each_case_is_answered_as_the_table_says, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let fixtures = Fixtures::new(&database);
    let bearer = |key: &str| format!("Authorization: Bearer {key}");
    let answer = |target: &str, headers: &[&str]| http::get(server.address, target, headers);
    assert_refusal(&answer("/answers/1", &[]), 401, Some("Bearer realm=\"api\""));
    for (_, key) in fixtures.invalid() {
        assert_refusal(
            &answer("/answers/1", &[&bearer(key)]),
            401,
            Some("Bearer realm=\"api\", error=\"invalid_token\""),
        );
    }
    let twice = [bearer(&fixtures.active), format!("X-API-Key: {}", fixtures.active)];
    assert_refusal(
        &answer("/answers/1", &[&twice[0], &twice[1]]),
        400,
        Some("Bearer realm=\"api\", error=\"invalid_request\""),
    );
    let active = bearer(&fixtures.active);
    assert_refusal(
        &answer("/scoped", &[&active]),
        403,
        Some(
            "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"cakes:write cakes:delete\"",
        ),
    );
    assert_refusal(
        &answer("/any", &[&active]),
        403,
        Some(
            "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"cakes:write cakes:read\"",
        ),
    );
    let passed = answer("/answers/1", &[&active]);
    assert_eq!((passed.status, passed.text().as_str()), (200, "cake"));
});

// D1
database_test!(scopes_are_all_of_the_one_list_and_one_of_the_other, |database: Database| {
    let server = Server::start(database.keys(), routes);
    for (scopes, with_all, with_any) in [
        ("cakes:write", 403, 200),
        ("cakes:write cakes:delete", 200, 200),
        ("cakes:read", 403, 200),
        ("cakes", 403, 403),
        ("cakes:writes not-cakes:write cakes:deletes", 403, 403),
        ("", 403, 403),
    ] {
        let (key, _) = database.issue_with(
            &NewKey::new("scoped", "0.0.0.0".parse().unwrap()).scopes(scopes.parse().unwrap()),
        );
        assert_eq!(http::get_with(server.address, "/scoped", &key).status, with_all, "{scopes}");
        assert_eq!(http::get_with(server.address, "/any", &key).status, with_any, "{scopes}");
    }
});

// D2
database_test!(every_401_for_a_presented_key_is_the_same_to_the_byte, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let fixtures = Fixtures::new(&database);
    let expected = http::get_with(server.address, "/answers/1", &fixtures.unknown).without_date();
    let malformed = [fixtures::mistyped(&fixtures.active), "x".to_owned(), "k".repeat(300)];
    for key in fixtures.invalid().map(|(_, key)| key.to_owned()).into_iter().chain(malformed) {
        for target in ["/answers/1", "/scoped"] {
            assert_eq!(
                http::get_with(server.address, target, &key).without_date(),
                expected,
                "{target} {key}"
            );
        }
    }
});

// D3
#[test]
fn trouble_in_the_store_is_503_and_never_says_what() {
    let broken =
        FakeStore::failing("could not connect to db.internal:5432 as cakes: SELECT secret");
    let server = Server::start(AppKeys::builder().store(broken).build().unwrap(), routes);
    let answer = http::get_with(server.address, "/answers/1", &fixtures::unknown());
    assert_refusal(&answer, 503, None);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let said = format!("{:?} {}", answer.headers, answer.text());
    for word in ["db.internal", "5432", "SELECT", "connect"] {
        assert!(!said.contains(word), "{said}");
    }
}

// D4
database_test!(nothing_of_the_request_is_echoed, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let (bound, id) = database.issue("203.0.113.7");
    for (key, target) in
        [(bound.as_str(), "/answers/echo-me?and=me-too"), ("echo-me", "/answers/echo-me")]
    {
        let answer = format!(
            "{:?}{}",
            http::get_with(server.address, target, key),
            http::get_with(server.address, target, key).text()
        );
        for word in [
            "echo-me",
            "me-too",
            key,
            &key[..key.len().min(12)],
            "203.0.113.7",
            "127.0.0.1",
            &format!("\"{id}\""),
        ] {
            assert!(!answer.contains(word), "{word} in {answer}");
        }
    }
});

// D5
database_test!(a_guarded_answer_is_private_unless_it_says_otherwise, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let ordinary = http::get_with(server.address, "/answers/1", &key);
    assert_eq!(
        (ordinary.header("cache-control"), ordinary.header("vary")),
        (Some("private"), Some("authorization, x-api-key"))
    );
    let own = http::get_with(server.address, "/own-headers", &key);
    assert_eq!(own.header("cache-control"), Some("max-age=60"));
    let vary: Vec<&str> = own
        .headers
        .iter()
        .filter(|(name, _)| name == "vary")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(vary, ["Accept", "authorization, x-api-key"]);
    assert_eq!(
        http::get(server.address, "/answers/1", &[]).header("vary"),
        Some("authorization, x-api-key")
    );
});

// D5
database_test!(
    errors_of_a_guarded_handler_are_private_as_well_and_an_upgrade_is_left_alone,
    |database: Database| {
        let server = Server::start(database.keys(), routes);
        let (key, _) = database.issue("0.0.0.0");
        for (target, status) in [("/fails/1", 409), ("/fails/not-a-number", 404)] {
            let answer = http::get_with(server.address, target, &key);
            assert_eq!(
                (answer.status, answer.header("cache-control"), answer.header("vary")),
                (status, Some("private"), Some("authorization, x-api-key")),
                "{target}"
            );
        }
        let switched = http::get_with(server.address, "/upgrade", &key);
        assert_eq!(
            (switched.status, switched.header("cache-control"), switched.header("vary")),
            (101, None, None)
        );
        assert_eq!(http::get(server.address, "/upgrade", &[]).status, 401);
    }
);

// D5
database_test!(after_a_key_in_the_query_nothing_is_stored_or_referred, |database: Database| {
    database.migrate();
    let keys = database
        .builder()
        .key_locations([api_key_runtime::KeyLocation::query("key")])
        .build()
        .unwrap();
    let server = Server::start(keys, routes);
    let (key, _) = database.issue("0.0.0.0");
    for target in [
        format!("/answers/1?key={key}"),
        format!("/own-headers?key={key}"),
        "/answers/1?key=bad".to_owned(),
    ] {
        let answer = http::get(server.address, &target, &[]);
        assert_eq!(
            (answer.header("cache-control"), answer.header("referrer-policy")),
            (Some("no-store"), Some("no-referrer")),
            "{target}"
        );
    }
});

// D6
database_test!(
    a_head_refusal_has_the_headers_and_no_body_and_the_connection_goes_on,
    |database: Database| {
        let server = Server::start(database.keys(), routes);
        let (key, _) = database.issue("0.0.0.0");
        let mut client = http::Client::connect(server.address);
        client.send(http::head("HEAD", "/head", &[]));
        let refusal = client.read(true).unwrap();
        assert_eq!(
            (refusal.status, refusal.header("www-authenticate")),
            (401, Some("Bearer realm=\"api\""))
        );
        client.send(http::head("GET", "/answers/1", &[&format!("X-API-Key: {key}")]));
        assert_eq!(client.read(false).unwrap().status, 200);
    }
);

// D1, A12
#[test]
fn without_app_keys_in_the_application_the_handler_does_not_run() {
    let server = Server::configured(|config| {
        config.service(web::scope("/unconfigured").configure(routes));
    });
    let answer = http::get_with(server.address, "/unconfigured/answers/1", &fixtures::unknown());
    assert_refusal(&answer, 500, None);
    let lines = log::lines_with("/unconfigured/answers/{id}");
    assert!(lines.iter().any(|line| line.contains("no AppKeys in the application")), "{lines:?}");
}

// D1
database_test!(an_app_key_on_a_route_without_the_attribute_is_500, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    assert_refusal(&http::get_with(server.address, "/no-attribute", &key), 500, None);
    assert!(
        !log::lines_with(
            "the handler of /no-attribute takes an AppKey but has no #[require_app_key]"
        )
        .is_empty()
    );
});

// A10, G1, G4
database_test!(
    a_refusal_is_one_warning_with_reason_and_key_id_and_without_the_key,
    |database: Database| {
        let place = if database.is_postgres() { "/logged-postgres" } else { "/logged-sqlite" };
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
                line.contains(&format!(
                    "Unauthorized address trying to use API: 127.0.0.1 ({reason}"
                )),
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
);

// D7
database_test!(
    an_application_s_own_body_changes_neither_status_nor_headers_nor_tells_401s_apart,
    |database: Database| {
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
        cases.extend(
            fixtures.invalid().map(|(_, key)| ("/answers/1", vec![bearer(key)], "InvalidKey")),
        );
        for (target, headers, class) in cases {
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let [mut own, mut stock] = [&own, &stock]
                .map(|server| http::get(server.address, target, &headers).without_date());
            assert_eq!(own.text(), format!(r#"{{"status":"fail","data":"{class}"}}"#));
            assert_eq!(
                (own.status, own.header("content-type")),
                (stock.status, Some("application/json"))
            );
            for answer in [&mut own, &mut stock] {
                answer
                    .headers
                    .retain(|(name, _)| name != "content-type" && name != "content-length");
                answer.headers.sort();
            }
            assert_eq!(own.headers, stock.headers, "{class}");
        }
    }
);

// G2, G3
#[test]
fn the_access_log_holds_no_key_and_no_raw_bytes() {
    let database = Database::sqlite();
    database.migrate();
    let keys = database
        .builder()
        .key_locations([
            api_key_runtime::KeyLocation::query("key"),
            api_key_runtime::KeyLocation::bearer(),
        ])
        .build()
        .unwrap();
    let (key, _) = database.issue("0.0.0.0");
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
        lines.iter().filter(|line| line.contains("actix_web::middleware::logger")).collect();
    assert_eq!(access.len(), 5, "{lines:?}");
    assert!(access[0].contains("GET /answers/access-log?key=[redacted] HTTP/1.1"), "{access:?}");
    assert!(access[3].contains("/answers/ak_live_[redacted]?access-log"), "{access:?}");
    let body = &key["ak_live_".len() + 4..];
    for piece in (0..=body.len() - 8).map(|start| &body[start..start + 8]) {
        assert!(access.iter().all(|line| !line.contains(piece)), "{access:?}");
    }
}

// C1, G2
#[test]
fn the_access_log_names_callers_as_trusted_proxies_do_and_nobody_else() {
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
        let mut access = lines.iter().filter(|line| line.contains("middleware::logger"));
        let line = access.next().expect("it was logged");
        assert!(line.contains(&format!("{named}\"GET")), "{line}");
        assert!(!line.contains("192.0.2.9"), "{line}");
    }
}

// G3
#[test]
fn a_request_line_in_the_log_is_neither_decoded_nor_ended_by_the_caller() {
    let database = Database::sqlite();
    let server = Server::logged(database.keys(), routes);
    let target = r#"/answers/raw-%0aWARN%1b[31m"-200?raw-%0d%0a\"#;
    assert_eq!(http::get(server.address, target, &[]).status, 401);
    let lines = log::lines_with("/answers/raw-");
    let access: Vec<&String> =
        lines.iter().filter(|line| line.contains("middleware::logger")).collect();
    assert_eq!(access.len(), 1, "{lines:?}");
    assert!(
        access[0].contains(r#""GET /answers/raw-%0aWARN%1b[31m\"-200?raw-%0d%0a\\ HTTP/1.1" 401 "#),
        "{access:?}"
    );
    assert!(lines.iter().all(|line| line.chars().all(|c| !c.is_control())), "{lines:?}");
}

// G4
#[test]
fn a_flood_of_refusals_is_ten_lines_and_a_summary_a_second() {
    const REFUSALS: usize = 237;
    let database = Database::sqlite();
    let keys = database.keys();
    let server = Server::configured(move |config| {
        config.service(web::scope("/flooded").app_data(keys.clone()).configure(routes));
    });
    let (key, id) = database.issue("0.0.0.0");
    database.execute(&format!("UPDATE api_keys SET allowed_ips = 'junk' WHERE id = {id}")).unwrap();
    let began = Instant::now();
    let mut client = http::Client::connect(server.address);
    for _ in 0..REFUSALS {
        client.send(http::head("GET", "/flooded/answers/1", &[&format!("X-API-Key: {key}")]));
        assert_eq!(client.read(false).unwrap().status, 401);
    }
    let lines = log::lines_with("/flooded/answers/{id}").len();
    let took = began.elapsed();
    println!("{lines} lines for {REFUSALS} refusals within {took:?}");
    // Ten in each second that was begun.
    let most = 10 * (usize::try_from(took.as_secs()).unwrap() + 1);
    assert!((10..=most).contains(&lines), "{lines} lines, {took:?}");
    let suppressed = REFUSALS - lines;
    wait_until("a summary says how many there were besides", || {
        let summaries = log::lines_with(" more within a second (unreadable address rule)");
        let number = |line: &String| line.split(' ').find_map(|word| word.parse::<usize>().ok());
        let mut numbers = summaries.iter().filter_map(number);
        // It may be in several, each with its second, on a machine that takes longer than one.
        numbers.clone().any(|number| number == suppressed)
            || took > Duration::from_secs(1) && numbers.by_ref().sum::<usize>() >= suppressed
    });
}

// G1
database_test!(
    what_is_issued_is_searched_for_in_every_log_line_and_answer,
    |database: Database| {
        let (key, _) = database.issue("0.0.0.0");
        let hex = if database.is_postgres() { "encode(digest, 'hex')" } else { "hex(digest)" };
        let digest = database.texts(&format!("SELECT {hex} FROM api_keys")).remove(0);
        for piece in [&key[20..28], &key[key.len() - 8..], &digest[..16], &digest[31..50]] {
            assert!(
                leaks::found_in(format!("somewhere {piece} within").as_bytes()),
                "the search does not find {piece}"
            );
        }
        assert!(!leaks::found_in(&key.as_bytes()[..12]), "the hint is no secret");
    }
);
