//! Nested middlewares and attributes: both check the key, and the handler gets the key.

use actix_web::{HttpResponse, web};
use api_key_runtime::{AppKey, KeyLocation, RequireAppKey, require_app_key};

use super::{ANY_KEY, bearer, key_with};
use crate::support::{Database, FakeStore, Fixtures, Server, http, log};

fn name(key: Option<&AppKey>) -> HttpResponse {
    HttpResponse::Ok().body(key.map_or("anonymous", AppKey::name).to_owned())
}

async fn named(key: AppKey) -> HttpResponse {
    name(Some(&key))
}

async fn perhaps(key: Option<AppKey>) -> HttpResponse {
    name(key.as_ref())
}

#[require_app_key]
async fn strict(key: AppKey) -> HttpResponse {
    name(Some(&key))
}

#[require_app_key(optional)]
async fn optional(key: Option<AppKey>) -> HttpResponse {
    name(key.as_ref())
}

#[require_app_key(scopes = "cakes:write")]
async fn writes(key: AppKey) -> HttpResponse {
    name(Some(&key))
}

const OPTIONAL: RequireAppKey = RequireAppKey::new().optional();
const DELETES: RequireAppKey = RequireAppKey::new().scopes("cakes:delete");

fn routes(config: &mut web::ServiceConfig) {
    let deletes = web::scope("/deletes").wrap(DELETES).route("/writes", web::get().to(writes));
    config
        .service(
            web::scope("/strict")
                .wrap(ANY_KEY)
                .route("/named", web::get().to(named))
                .route("/perhaps", web::get().to(perhaps))
                .route("/strict", web::get().to(strict))
                .route("/optional", web::get().to(optional))
                .service(deletes),
        )
        .service(
            web::scope("/optional")
                .wrap(OPTIONAL)
                .route("/perhaps", web::get().to(perhaps))
                .route("/mistaken-below-optional", web::get().to(named))
                .route("/strict", web::get().to(strict))
                .route("/optional", web::get().to(optional))
                .route("/writes", web::get().to(writes))
                .service(
                    web::scope("/inner").wrap(ANY_KEY).route("/perhaps", web::get().to(perhaps)),
                ),
        );
}

// B3, D1
#[test]
fn the_stricter_of_two_nested_checks_wins() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let fixtures = Fixtures::new(&database);
    let answer = |path: &str, lines: &[&str]| {
        let answer = http::get(server.address, path, lines);
        let text = if answer.status == 200 { answer.text() } else { String::new() };
        (answer.status, text)
    };
    let (named, refused) = ((200, "test".to_owned()), (401, String::new()));
    let anonymous = (200, "anonymous".to_owned());
    let key = bearer(&fixtures.active);
    for (path, anonymous) in [
        ("/strict/named", &refused),
        ("/strict/perhaps", &refused),
        ("/strict/strict", &refused),
        ("/strict/optional", &refused),
        ("/optional/perhaps", &anonymous),
        ("/optional/strict", &refused),
        ("/optional/optional", &anonymous),
        ("/optional/writes", &refused),
        ("/optional/inner/perhaps", &refused),
    ] {
        assert_eq!(answer(path, &[]), *anonymous, "{path}");
        assert_eq!(answer(path, &["X-API-Key:"]), refused, "{path}");
        for (_, bad) in fixtures.invalid() {
            assert_eq!(answer(path, &[&bearer(bad)]), refused, "{path}");
        }
        assert_eq!(answer(path, &[&key, &key]).0, 400, "{path}");
        if path != "/optional/writes" {
            assert_eq!(answer(path, &[&key]), named, "{path}");
        }
    }
}

// D1
// The rejection names the scopes of the check that failed.
#[test]
fn nested_checks_need_the_scopes_of_both() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let answer = |scopes: &str| {
        let key = key_with(&database, scopes);
        let answer = http::get_with(server.address, "/strict/deletes/writes", &key);
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let scope = challenge.split("scope=").nth(1).unwrap_or_default();
        (answer.status, scope.to_owned())
    };
    let (writes, deletes) = ("\"cakes:write\"".to_owned(), "\"cakes:delete\"".to_owned());
    assert_eq!(answer(""), (403, deletes.clone()));
    assert_eq!(answer("cakes:write"), (403, deletes));
    assert_eq!(answer("cakes:delete"), (403, writes));
    assert_eq!(answer("cakes:delete cakes:write"), (200, String::new()));
}

// D5
#[test]
fn headers_are_added_once_by_several_checks() {
    let database = Database::sqlite();
    let keys = database
        .migrate()
        .builder()
        .key_locations([KeyLocation::header("X-API-Key"), KeyLocation::query("key")]);
    let server = Server::start(keys.build().unwrap(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let good = format!("X-API-Key: {key}");
    for (path, lines, status) in [
        ("/strict/strict", &[good.as_str()][..], 200),
        ("/strict/strict", &[], 401),
        ("/optional/strict", &[], 401),
        ("/strict/deletes/writes", &[&good], 403),
        ("/optional/optional", &[], 200),
    ] {
        let answer = http::get(server.address, path, lines);
        // `header` panics if a header is repeated.
        assert_eq!(
            (answer.status, answer.header("vary"), answer.header("cache-control")),
            (status, Some("x-api-key"), Some(if status == 200 { "private" } else { "no-store" })),
            "{path}"
        );
    }
    for path in ["/strict/strict", "/optional/optional"] {
        let answer = http::get(server.address, &format!("{path}?key={key}"), &[]);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("vary"), Some("x-api-key"), "{path}");
    }
}

// D1
#[test]
fn requiring_a_key_below_an_optional_middleware_is_500() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let path = "/optional/mistaken-below-optional";
    assert_eq!(http::get(server.address, path, &[]).status, 500);
    let lines = log::lines_with(&format!("the handler of {path} takes an AppKey"));
    assert!(lines.len() == 1 && lines[0].contains("take Option<AppKey>"), "{lines:?}");
    let (key, _) = database.issue("0.0.0.0");
    assert_eq!(http::get_with(server.address, path, &key).status, 200);
}

// D1
#[test]
fn a_rejection_by_the_outer_check_causes_only_one_lookup() {
    let database = Database::sqlite();
    database.migrate();
    let store = FakeStore::over(api_key_runtime::store::DieselStore::open(database.url()).unwrap());
    let keys = api_key_runtime::AppKeys::builder().store(store.clone());
    let server = Server::start(keys.build().unwrap(), routes);
    let unknown = crate::support::fixtures::unknown();
    let before = store.queries();
    assert_eq!(http::get_with(server.address, "/strict/strict", &unknown).status, 401);
    assert_eq!(store.queries() - before, 1);
}
