//! What a caller presents.

use std::thread;

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{AppKey, AppKeys, DieselStore, KeyLocation, require_app_key};

use crate::support::{Database, FakeStore, Fixtures, Server, database_test, fixtures, http, log};

#[get("/cake")]
#[require_app_key]
async fn cake(key: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(format!("cake for {}", key.id()))
}

#[get("/optional")]
#[require_app_key(optional)]
async fn optional(key: Option<AppKey>) -> HttpResponse {
    HttpResponse::Ok().body(key.map_or_else(|| "nobody".to_owned(), |key| key.name().to_owned()))
}

#[get("/optional-scoped")]
#[require_app_key(optional, scopes = "cakes:write")]
async fn optional_scoped(key: Option<AppKey>) -> HttpResponse {
    HttpResponse::Ok().body(key.map_or_else(|| "nobody".to_owned(), |key| key.name().to_owned()))
}

#[get("/optional-mistaken")]
#[require_app_key(optional)]
async fn optional_mistaken(key: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(key.name().to_owned())
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(cake).service(optional).service(optional_scoped).service(optional_mistaken);
}

fn status(server: &Server, target: &str, headers: &[&str]) -> u16 {
    http::get(server.address, target, headers).status
}

// B1
database_test!(a_key_is_taken_from_authorization_and_x_api_key_by_default, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let (key, id) = database.issue("0.0.0.0");
    let answer = http::get_with(server.address, "/cake", &key);
    assert_eq!((answer.status, answer.text()), (200, format!("cake for {id}")));
    assert_eq!(status(&server, "/cake", &[&format!("X-API-Key: {key}")]), 200);
    assert_eq!(status(&server, "/cake", &[]), 401);
    assert_eq!(status(&server, &format!("/cake?key={key}"), &[]), 401);
    assert_eq!(status(&server, "/cake", &[&format!("Cookie: app_key={key}")]), 401);
    assert_eq!(status(&server, "/cake", &[&format!("X-App-Key: {key}")]), 401);
});

// B1
database_test!(
    a_query_parameter_a_cookie_and_other_names_only_where_enabled,
    |database: Database| {
        database.migrate();
        let key_locations = [
            KeyLocation::query("key"),
            KeyLocation::cookie("app_key"),
            KeyLocation::header("X-App-Key"),
        ];
        let server =
            Server::start(database.builder().key_locations(key_locations).build().unwrap(), routes);
        let (key, _) = database.issue("0.0.0.0");
        assert_eq!(status(&server, &format!("/cake?key={key}"), &[]), 200);
        assert_eq!(status(&server, "/cake", &[&format!("Cookie: app_key={key}")]), 200);
        assert_eq!(status(&server, "/cake", &[&format!("X-App-Key: {key}")]), 200);
        // What is not in the list is nothing presented.
        for line in [format!("Authorization: Bearer {key}"), format!("X-API-Key: {key}")] {
            let answer = http::get(server.address, "/cake", &[&line]);
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("Bearer realm=\"api\"")),
                "{line}"
            );
            assert_eq!(
                status(&server, &format!("/cake?key={key}"), &[&line]),
                200,
                "{line} beside a key"
            );
        }
    }
);

// B2
database_test!(more_than_one_credential_is_400_even_if_equal, |database: Database| {
    database.migrate();
    let key_locations =
        [KeyLocation::bearer(), KeyLocation::header("X-API-Key"), KeyLocation::query("key")];
    let server =
        Server::start(database.builder().key_locations(key_locations).build().unwrap(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let bearer = format!("Authorization: Bearer {key}");
    let header = format!("X-API-Key: {key}");
    let query = format!("/cake?key={key}");
    let cases: [(&str, Vec<&str>); 7] = [
        ("/cake", vec![&bearer, &header]),
        ("/cake", vec![&bearer, &bearer]),
        ("/cake", vec![&header, &header]),
        ("/cake", vec![&header, "X-API-Key: "]),
        (&query, vec![&bearer]),
        (&format!("{query}&key={key}"), vec![]),
        (&format!("{query}&%6bey={key}"), vec![]),
    ];
    for (target, headers) in cases {
        let answer = http::get(server.address, target, &headers);
        assert_eq!(answer.status, 400, "{target} {headers:?}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"api\", error=\"invalid_request\"")
        );
    }
    assert_eq!(status(&server, &query, &[]), 200, "one alone is fine");
});

// B3
database_test!(
    the_scheme_is_case_insensitive_and_other_schemes_are_nothing_presented,
    |database: Database| {
        let server = Server::start(database.keys(), routes);
        let (key, _) = database.issue("0.0.0.0");
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(
                status(&server, "/cake", &[&format!("Authorization: {scheme} {key}")]),
                200,
                "{scheme}"
            );
        }
        for value in [
            "",
            "Bearer",
            &format!("Bearer {key} {key}"),
            &format!("Bearer \"{key}\""),
            &format!("Bearer {key},"),
        ] {
            let answer = http::get(server.address, "/cake", &[&format!("Authorization: {value}")]);
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("Bearer realm=\"api\", error=\"invalid_token\"")),
                "{value}"
            );
        }
        for value in [&format!("Bearer{key}"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="] {
            let answer = http::get(server.address, "/cake", &[&format!("Authorization: {value}")]);
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("Bearer realm=\"api\"")),
                "{value}"
            );
            let beside = [&format!("Authorization: {value}"), &*format!("X-API-Key: {key}")];
            assert_eq!(status(&server, "/cake", &beside), 200, "{value} beside X-API-Key");
        }
    }
);

// B3
database_test!(
    an_optional_route_passes_who_presents_nothing_and_refuses_all_that_is_bad,
    |database: Database| {
        let server = Server::start(database.keys(), routes);
        let fixtures = Fixtures::new(&database);
        let answer = |target: &str, headers: &[&str]| {
            let answer = http::get(server.address, target, headers);
            (answer.status, if answer.status == 200 { answer.text() } else { String::new() })
        };
        let active = format!("X-API-Key: {}", fixtures.active);
        assert_eq!(answer("/optional", &[]), (200, "nobody".to_owned()));
        assert_eq!(
            answer("/optional", &["Authorization: Basic QWxhZGRpbg=="]),
            (200, "nobody".to_owned())
        );
        assert_eq!(answer("/optional", &[&active]), (200, "test".to_owned()));
        for bad in [
            "X-API-Key:",
            "Authorization:",
            "Authorization: Bearer",
            "X-API-Key: junk",
            "Authorization: Bearer a b",
        ] {
            assert_eq!(answer("/optional", &[bad]).0, 401, "{bad}");
        }
        for (_, key) in fixtures.invalid() {
            assert_eq!(answer("/optional", &[&format!("X-API-Key: {key}")]).0, 401);
        }
        assert_eq!(answer("/optional", &[&active, &active]).0, 400);
        assert_eq!(answer("/optional-scoped", &[]).0, 200);
        assert_eq!(answer("/optional-scoped", &[&active]).0, 403);
        // A handler that insists on a key it need not get is told so, and answers nobody.
        assert_eq!(answer("/optional-mistaken", &[&active]).0, 200);
        assert_eq!(answer("/optional-mistaken", &[]).0, 500);
        assert!(
            log::lines_with("the handler of /optional takes an AppKey").is_empty(),
            "anonymous callers are no error"
        );
        assert_eq!(
            log::lines_with(
                "the handler of /optional-mistaken takes an AppKey, which there is none of"
            )
            .len(),
            1
        );
    }
);

// A3, B4, B5
database_test!(what_cannot_be_a_key_is_refused_without_a_query, |database: Database| {
    database.migrate();
    let store = FakeStore::over(DieselStore::open(database.url()).unwrap());
    for accept_imported in [false, true] {
        let mut builder = AppKeys::builder()
            .store(store.clone())
            .key_locations([KeyLocation::header("X-API-Key"), KeyLocation::query("key")]);
        if accept_imported {
            builder = builder.accept_imported_keys();
        }
        let server = Server::start(builder.build().unwrap(), routes);
        let (key, _) = database.issue("0.0.0.0");
        let before = store.queries();
        let long = "k".repeat(257);
        let longer = "k".repeat(100_000);
        let changed: Vec<String> = (0..key.len())
            .flat_map(|at| {
                let other = if key[at..].starts_with('x') { 'y' } else { 'x' };
                let (head, tail) = (&key[..at], &key[at + 1..]);
                [
                    format!("{head}{other}{tail}"),
                    format!("{head}{tail}"),
                    format!("{head}{other}{}", &key[at..]),
                ]
            })
            .collect();
        let mut client = http::Client::connect(server.address);
        for value in changed.iter().chain([&long, &longer]) {
            client.send(http::head("GET", "/cake", &[&format!("X-API-Key: {value}")]));
            assert_eq!(
                client.read(false).unwrap().status,
                401,
                "{}",
                &value[..60.min(value.len())]
            );
        }
        for value in ["k\u{e9}", "k\tk", "k k", "k%41", "k,k"] {
            client.send(http::head("GET", "/cake", &[&format!("X-API-Key: {value}")]));
            assert_eq!(client.read(false).unwrap().status, 401, "{value:?}");
        }
        for value in ["k%00", "%0a", "%ff", "%25", "%2c", "%20k"] {
            assert_eq!(status(&server, &format!("/cake?key={value}"), &[]), 401, "{value:?}");
        }
        assert_eq!(store.queries(), before, "imported keys accepted: {accept_imported}");
        assert_eq!(status(&server, "/cake", &[&format!("X-API-Key: {key}")]), 200);
        assert!(store.queries() > before, "the counter counts");
    }
});

// F7
database_test!(hostile_keys_never_count_as_a_failure_of_the_store, |database: Database| {
    // Of a hundred times as many nothing more can be seen: the store fails or it does not.
    const REQUESTS: usize = 1000;
    let keys = database.keys();
    let server = Server::start(keys.clone(), routes);
    let (key, _) = database.issue("0.0.0.0");
    thread::scope(|scope| {
        for client in 0..4 {
            let (key, keys) = (&key, &keys);
            scope.spawn(move || {
                let mut connection = http::Client::connect(server.address);
                for number in 0..REQUESTS {
                    let hostile = match number % 4 {
                        0 => fixtures::unknown(),
                        1 => fixtures::mistyped(key),
                        2 => "x".repeat(number % 400),
                        _ => format!("'+OR+'1'='1'--{client}-{number}"),
                    };
                    let line = format!("Authorization: Bearer {hostile}");
                    connection.send(http::head("GET", "/cake", &[&line]));
                    let status = connection.read(false).unwrap().status;
                    assert_eq!(status, 401, "{hostile}");
                    if number % 100 == 99 {
                        let health = keys.health();
                        assert!(!health.to_string().contains("does not answer"), "{health}");
                    }
                }
            });
        }
    });
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 200);
});
