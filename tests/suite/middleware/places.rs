//! Each place it can be wrapped around: what gets in, and that a refusal is the attribute's.

use std::time::Instant;

use actix_web::{HttpResponse, web};
use api_key_runtime::{AppKeys, KeyLocation, RequireAppKey, require_app_key};

use super::{ANY_KEY, Probe, Touched, bearer, cake, key_with};
use crate::support::{Database, FakeStore, Fixtures, PATIENCE, Server, database_test, http, log};

const SCOPED: RequireAppKey = RequireAppKey::new().scopes(&["cakes:write", "cakes:delete"]);
const ANY_OF: RequireAppKey = RequireAppKey::new().any_scope(&["cakes:write", "cakes:read"]);

/// What each place asks for, as the last part of its path.
const ASKS: [(&str, RequireAppKey); 4] = [
    ("any-key", ANY_KEY),
    ("scopes", SCOPED),
    ("any-scope", ANY_OF),
    ("optional", ANY_KEY.optional()),
];
/// Where the middleware is wrapped, as the first part of the path.
const PLACES: [&str; 4] = ["scope", "resource", "route", "deep"];
/// Each caller comes with `GET` and with one of these.
const OTHER_METHODS: [&str; 5] = ["HEAD", "POST", "OPTIONS", "TRACE", "BREW"];

#[require_app_key]
async fn any_key(probe: Probe) -> HttpResponse {
    cake(probe).await
}

#[require_app_key(scopes = "cakes:write cakes:delete")]
async fn scopes(probe: Probe) -> HttpResponse {
    cake(probe).await
}

#[require_app_key(any_scope = "cakes:write cakes:read")]
async fn any_scope(probe: Probe) -> HttpResponse {
    cake(probe).await
}

#[require_app_key(optional)]
async fn optional(probe: Probe) -> HttpResponse {
    cake(probe).await
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/attribute/any-key").to(any_key))
        .service(web::resource("/attribute/scopes").to(scopes))
        .service(web::resource("/attribute/any-scope").to(any_scope))
        .service(web::resource("/attribute/optional").to(optional));
    for (ask, guard) in ASKS {
        config
            .service(
                web::scope(&format!("/scope/{ask}"))
                    .wrap(guard)
                    .service(web::resource("").to(cake)),
            )
            .service(web::resource(format!("/resource/{ask}")).wrap(guard).to(cake))
            .service(
                web::resource(format!("/route/{ask}")).route(web::route().to(cake).wrap(guard)),
            )
            // Scopes add their data to a request that nobody else may hold then.
            .service(
                web::scope(&format!("/deep/{ask}")).wrap(guard).service(
                    web::scope("").app_data(1_u8).service(
                        web::scope("")
                            .app_data(2_u16)
                            .service(web::resource("").app_data(3_u32).to(cake)),
                    ),
                ),
            );
    }
}

fn served(keys: AppKeys, touched: &Touched) -> Server {
    let touched = touched.clone();
    Server::configured(move |config| {
        config.app_data(keys.clone()).app_data(touched.clone()).configure(routes);
    })
}

/// Callers of every kind: a query and header lines.
fn callers(database: &Database) -> Vec<(String, Vec<String>)> {
    let fixtures = Fixtures::new(database);
    let key = fixtures.active.clone();
    let api_key = |key: &str| format!("X-API-Key: {key}");
    let mut headers = vec![
        vec![],
        vec!["Authorization: Basic QWxhZGRpbg==".to_owned()],
        vec!["X-API-Key:".to_owned()],
        vec!["Authorization: Bearer".to_owned()],
        vec![api_key("malformed")],
        vec![api_key(&key)],
        vec![bearer(&key)],
        vec![bearer(&key), api_key(&key)],
        vec![api_key(&key), api_key(&key)],
    ];
    for (_, key) in fixtures.invalid() {
        headers.push(vec![bearer(key)]);
        headers.push(vec![api_key(key)]);
    }
    for scopes in ["cakes:read", "cakes:write", "cakes:write cakes:delete", "cakes"] {
        headers.push(vec![bearer(&key_with(database, scopes))]);
    }
    let mut callers: Vec<_> = headers.into_iter().map(|lines| (String::new(), lines)).collect();
    for query in [
        format!("?key={key}"),
        "?key=".to_owned(),
        "?key=%zz".to_owned(),
        format!("?key={}", fixtures.unknown),
        format!("?key={key}&key={key}"),
    ] {
        callers.push((query, vec![]));
    }
    callers
}

/// Compares every place with the attribute, for each of the callers; the statuses that were answered.
fn compare(server: &Server, callers: &[(String, Vec<String>)]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (ask, _) in ASKS {
        for ((query, lines), other) in callers.iter().zip(OTHER_METHODS.iter().cycle()) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            for method in ["GET", other] {
                let answer = |place: &str| {
                    let target = format!("/{place}/{ask}{query}");
                    http::request(server.address, method, &target, &lines).without_date()
                };
                let expected = answer("attribute");
                for place in PLACES {
                    assert_eq!(answer(place), expected, "{method} /{place}/{ask}{query} {lines:?}");
                }
                statuses.push(expected.status);
            }
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

// B8, B12, D1, D2, D4, D5, D6
database_test!(everywhere_every_answer_is_the_attribute_s_byte_by_byte, |database: Database| {
    let builder = database.migrate().builder().key_locations([
        KeyLocation::bearer(),
        KeyLocation::header("X-API-Key"),
        KeyLocation::query("key"),
    ]);
    let touched = Touched::default();
    let server = served(builder.build().unwrap(), &touched);
    let statuses = compare(&server, &callers(&database));
    assert_eq!(statuses, [200, 400, 401, 403]);
});

// D3
#[test]
fn a_store_that_is_away_is_503_everywhere() {
    let touched = Touched::default();
    let keys = AppKeys::builder().store(FakeStore::failing("the table is away")).build().unwrap();
    let server = served(keys, &touched);
    let caller = (String::new(), vec![bearer(&crate::support::fixtures::unknown())]);
    assert_eq!(compare(&server, &[caller]), [503]);
    assert_eq!(touched.count(), 0);
}

// A12, D1
#[test]
fn without_app_keys_everything_is_500_and_nothing_runs() {
    let touched = Touched::default();
    let counting = touched.clone();
    let server = Server::configured(move |config| {
        config.app_data(counting.clone()).service(
            web::scope("/unconfigured-middleware")
                .wrap(ANY_KEY)
                .route("/cakes/{id}", web::get().to(cake)),
        );
        routes(config);
    });
    let callers = [vec![], vec![bearer(&crate::support::fixtures::unknown())]]
        .map(|lines| (String::new(), lines));
    assert_eq!(compare(&server, &callers), [500]);
    http::get(server.address, "/unconfigured-middleware/cakes/1", &[]);
    assert_eq!(touched.count(), 0);
    let lines = log::lines_with("/unconfigured-middleware/cakes/{id} has");
    assert!(
        lines.len() == 1
            && lines[0].contains("no AppKeys")
            && lines[0].contains("the scope or resource that"),
        "{lines:?}"
    );
}

// A12
#[test]
fn keys_further_inside_do_not_reach_it_and_everything_is_500() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (key, _) = database.issue("0.0.0.0");
    let touched = Touched::default();
    let counting = touched.clone();
    let server = Server::configured(move |config| {
        let inside = web::scope("/inside").app_data(keys.clone()).route("", web::get().to(cake));
        config
            .app_data(counting.clone())
            .service(web::scope("/outside").wrap(ANY_KEY).service(inside));
    });
    assert_eq!(http::get_with(server.address, "/outside/inside", &key).status, 500);
    assert_eq!(touched.count(), 0);
}

// A12
#[test]
fn keys_of_the_very_scope_or_resource_that_it_is_wrapped_around_reach_it() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (key, _) = database.issue("0.0.0.0");
    let server = Server::configured(move |config| {
        let keys = || keys.clone();
        config
            .service(
                web::scope("/before").app_data(keys()).wrap(ANY_KEY).route("", web::get().to(cake)),
            )
            .service(
                web::scope("/after")
                    .wrap(ANY_KEY)
                    .app_data(web::Data::new(keys()))
                    .route("", web::get().to(cake)),
            )
            .service(web::resource("/resource").wrap(ANY_KEY).app_data(keys()).to(cake));
    });
    for path in ["/before", "/after", "/resource"] {
        assert_eq!(http::get(server.address, path, &[]).status, 401, "{path}");
        assert_eq!(http::get_with(server.address, path, &key).status, 200, "{path}");
    }
}

// B8
#[test]
fn a_body_that_never_ends_is_refused_promptly_everywhere() {
    let database = Database::sqlite();
    let touched = Touched::default();
    let server = served(database.keys(), &touched);
    for place in PLACES {
        for (line, body) in
            [("Transfer-Encoding: chunked", "5\r\nhello\r\n"), ("Content-Length: 3000000", "hello")]
        {
            let started = Instant::now();
            let mut client = http::Client::connect(server.address);
            client.send(http::head("POST", &format!("/{place}/any-key"), &[line]));
            client.send(body);
            assert_eq!(client.read(false).unwrap().status, 401, "{place}, {line}");
            assert!(started.elapsed() < PATIENCE, "not promptly");
        }
    }
    assert_eq!(touched.count(), 0);
}

// B14
#[test]
fn requests_on_one_connection_are_judged_one_by_one_everywhere() {
    let database = Database::sqlite();
    let touched = Touched::default();
    let server = served(database.keys(), &touched);
    let (key, _) = database.issue("0.0.0.0");
    for place in PLACES {
        let target = format!("/{place}/any-key");
        let (with, without) =
            (http::head("GET", &target, &[&bearer(&key)]), http::head("GET", &target, &[]));
        let mut client = http::Client::connect(server.address);
        client.send([with.as_str(), &without, &with, &without, &without].concat());
        let statuses = [(); 5].map(|()| client.read(false).unwrap().status);
        assert_eq!(statuses, [200, 401, 200, 401, 401], "{place}");
    }
    assert_eq!(touched.count(), 2 * PLACES.len());
}
