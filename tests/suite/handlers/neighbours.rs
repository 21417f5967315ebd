//! Handlers with other attributes beside `#[require_app_key]`.

use std::collections::HashSet;

use actix_web::{HttpResponse, Responder, dev::ServiceRequest, get, web};
use actix_web_grants::{GrantsMiddleware, protect};
use api_key_runtime::{AppKey, require_app_key};
use utoipa::OpenApi as _;

use super::{case, get as asks, guarded, ran, spans};
use crate::support::{Database, Server, http};

type Number = web::Path<u32>;

#[get("/span/below/{number}")]
#[require_app_key]
#[tracing::instrument]
async fn span_below(number: Number, key: AppKey) -> String {
    format!("{} {number} {}", ran("/span/below"), key.id())
}

#[get("/span/above/{number}")]
#[tracing::instrument]
#[require_app_key]
async fn span_above(number: Number, key: AppKey) -> String {
    format!("{} {number} {}", ran("/span/above"), key.id())
}

#[require_app_key]
#[get("/span/last/{number}")]
#[tracing::instrument]
async fn span_last(number: Number, key: AppKey) -> String {
    format!("{} {number} {}", ran("/span/last"), key.id())
}

#[tracing::instrument]
#[get("/span/first/{number}")]
#[require_app_key]
async fn span_first(number: Number, key: AppKey) -> String {
    format!("{} {number} {}", ran("/span/first"), key.id())
}

#[require_app_key]
#[cfg_attr(true, get("/span/conditional/{number}"), tracing::instrument)]
async fn span_conditional(number: Number, key: AppKey) -> String {
    format!("{} {number} {}", ran("/span/conditional"), key.id())
}

#[get("/span/full/{number}")]
#[require_app_key]
#[tracing::instrument(ret, err, level = "warn", fields(id = key.id()))]
async fn span_full(number: Number, key: AppKey) -> Result<String, actix_web::Error> {
    Ok(format!("{} {number} {}", ran("/span/full"), key.id()))
}

/// The function is not `async`. `instrument` searches its body for the future that it returns.
#[get("/span/future/{number}")]
#[tracing::instrument(skip(key))]
#[require_app_key]
fn span_future(number: Number, key: AppKey) -> std::pin::Pin<Box<dyn Future<Output = String>>> {
    Box::pin(async move { format!("{} {number} {}", ran("/span/future"), key.id()) })
}

fn span_routes(config: &mut web::ServiceConfig) {
    config
        .service(span_below)
        .service(span_above)
        .service(span_last)
        .service(span_first)
        .service(span_conditional)
        .service(span_full)
        .service(span_future);
}

/// Returns the names of a span's fields, in order.
fn fields(line: &str) -> Vec<&str> {
    let names = ["number", "key", "id"];
    line.split([' ', '{', '('])
        .filter_map(|word| word.split_once('='))
        .map(|(name, _)| name)
        .inspect(|name| assert!(names.contains(name), "{name} in {line}"))
        .collect()
}

// B13, G1
#[test]
fn a_span_records_the_arguments_and_never_the_request() {
    spans::install();
    let database = Database::sqlite();
    let server = Server::start(database.keys(), span_routes);
    // From here on, every span, log line and response is searched for this key.
    let (key, id) = database.issue("0.0.0.0");
    let credential = format!("X-API-Key: {key}");
    for (name, path, expected) in [
        ("span_below", "/span/below", vec!["number", "key"]),
        ("span_above", "/span/above", vec!["number", "key"]),
        ("span_last", "/span/last", vec!["number", "key"]),
        ("span_first", "/span/first", vec!["number", "key"]),
        ("span_conditional", "/span/conditional", vec!["number", "key"]),
        ("span_full", "/span/full", vec!["number", "key", "id"]),
        ("span_future", "/span/future", vec!["number"]),
    ] {
        let target = format!("{path}/7");
        assert_eq!(http::get(server.address, &target, &[]).status, 401, "{path}");
        assert_eq!(spans::named(name), [""; 0], "{path}: without a key");
        let answer = http::get(server.address, &target, &[&credential]);
        assert_eq!((answer.status, answer.text()), (200, format!("{path} 7 {id}")), "{path}");
        let spans = spans::named(name);
        assert_eq!(spans.len(), 1, "{path}: {spans:?}");
        assert_eq!(fields(&spans[0]), expected, "{path}: {spans:?}");
        assert!(!spans[0].contains(&key), "{path}: {spans:?}");
    }
}

/// One cake.
#[utoipa::path(get, path = "/described/{id}", responses((status = 200, description = "a cake")))]
#[get("/described/{id}")]
#[require_app_key]
async fn described(id: Number) -> impl Responder {
    format!("{} {id}", ran("/described"))
}

#[utoipa::path(responses((status = 200, description = "all cakes")), get, path = "/listed")]
#[require_app_key]
#[get("/listed")]
async fn listed() -> impl Responder {
    ran("/listed")
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(described, listed))]
struct Description;

// B13
#[test]
fn a_handler_under_utoipa_s_path_is_described_and_guarded() {
    let description = serde_json::to_value(Description::openapi()).unwrap();
    let get = |path: &str| description["paths"][path]["get"].clone();
    assert_eq!(get("/described/{id}")["summary"], "One cake.");
    assert_eq!(get("/described/{id}")["responses"]["200"]["description"], "a cake");
    assert_eq!(get("/listed")["responses"]["200"]["description"], "all cakes");
    guarded(
        |config| {
            config.service(described).service(listed);
        },
        &[asks("/described").at("/described/7").answers(200, "/described 7"), asks("/listed")],
    );
}

#[get("/protected/below")]
#[require_app_key]
#[protect("BAKER")]
async fn protected_below(key: AppKey) -> String {
    format!("{} {}", ran("/grants/protected/below"), key.name())
}

#[get("/protected/above")]
#[protect("BAKER")]
#[require_app_key]
async fn protected_above(key: AppKey) -> String {
    format!("{} {}", ran("/grants/protected/above"), key.name())
}

#[require_app_key]
#[protect("BAKER", expr = "*number == 7")]
#[get("/protected/last/{number}")]
async fn protected_last(number: Number) -> String {
    format!("{} {number}", ran("/grants/protected/last"))
}

#[protect("BAKER")]
#[require_app_key]
#[get("/protected/first")]
async fn protected_first(_: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(ran("/grants/protected/first"))
}

/// Returns the roles that the request claims.
async fn roles(request: &ServiceRequest) -> Result<HashSet<String>, actix_web::Error> {
    let roles = request.headers().get_all("x-role");
    Ok(roles.filter_map(|role| role.to_str().ok()).map(str::to_owned).collect())
}

fn protected_routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/grants")
            .wrap(GrantsMiddleware::with_extractor(roles))
            .service(protected_below)
            .service(protected_above)
            .service(protected_last)
            .service(protected_first),
    );
}

// B13
#[test]
fn with_protect_the_key_is_checked_before_the_authority() {
    let paths = [
        ("/grants/protected/below", "/grants/protected/below", " test"),
        ("/grants/protected/above", "/grants/protected/above", " test"),
        ("/grants/protected/last", "/grants/protected/last/7", " 7"),
        ("/grants/protected/first", "/grants/protected/first", ""),
    ];
    let cases = paths.map(|(path, target, rest)| {
        case("GET", path).at(target).line("X-Role: BAKER").answers(200, format!("{path}{rest}"))
    });
    guarded(protected_routes, &cases);
    let database = Database::sqlite();
    let server = Server::start(database.keys(), protected_routes);
    let (key, _) = database.issue("0.0.0.0");
    for (path, target, _) in paths {
        let before = super::runs(path);
        let answer = http::get(server.address, target, &[&format!("X-API-Key: {key}")]);
        assert_eq!((answer.status, super::runs(path)), (403, before), "{path}");
    }
}

/// Documentation and lint levels above and below the attribute.
#[get("/builtin/levels")]
#[allow(unused_mut, clippy::let_and_return)]
#[require_app_key]
/// Below the attribute.
#[expect(unused_variables, reason = "checks that the expectation is fulfilled once")]
#[warn(unused_must_use)]
async fn levels(number: web::Query<Vec<(String, u32)>>) -> String {
    let mut text = ran("/builtin/levels");
    text
}

#[deprecated(note = "checks that generated code does not use the handler's name")]
#[require_app_key]
#[inline]
async fn deprecated() -> String {
    ran("/builtin/deprecated")
}

#[require_app_key]
#[deprecated]
#[cold]
#[inline(never)]
async fn deprecated_below() -> String {
    ran("/builtin/deprecated/below")
}

#[cfg(true)]
#[require_app_key]
#[cfg(not(false))]
#[cfg_attr(true, must_use = "to be registered", doc = "Conditionally.")]
async fn conditional() -> String {
    ran("/builtin/conditional")
}

/// Conditional compilation removes this handler, so its name is not a duplicate. The condition may
/// be above or below the attribute.
#[require_app_key]
#[cfg(false)]
async fn conditional() -> String {
    compile_error!("never compiled")
}

#[cfg(false)]
#[require_app_key]
async fn conditional() -> String {
    compile_error!("never compiled")
}

#[require_app_key]
#[rustfmt::skip]
#[clippy::cognitive_complexity = "50"]
#[track_caller]
fn tools() -> std::future::Ready<String> {
    std::future::ready(ran("/builtin/tools"))
}

/// The attribute itself has a condition, which is true.
#[cfg_attr(true, require_app_key)]
#[cfg_attr(false, get("/never"))]
async fn attribute_under_a_condition() -> String {
    ran("/builtin/attribute")
}

// B13
#[test]
fn attributes_of_the_language_are_kept() {
    #[allow(deprecated)]
    fn routes(config: &mut web::ServiceConfig) {
        config
            .service(levels)
            .route("/builtin/deprecated", web::get().to(deprecated))
            .route("/builtin/conditional", web::get().to(conditional))
            .route("/builtin/tools", web::get().to(tools))
            .route("/builtin/attribute", web::get().to(attribute_under_a_condition))
            .configure(expectations::routes);
    }
    guarded(
        routes,
        &[
            asks("/builtin/levels"),
            asks("/builtin/deprecated"),
            asks("/builtin/deprecated/below"),
            asks("/builtin/conditional"),
            asks("/builtin/tools"),
            asks("/builtin/attribute"),
        ],
    );
}

/// A use of a deprecated handler. The expectation is fulfilled only if `#[deprecated]` applies to
/// the function that applications use.
#[deny(unfulfilled_lint_expectations)]
mod expectations {
    use actix_web::web;

    #[expect(deprecated)]
    pub(super) fn routes(config: &mut web::ServiceConfig) {
        config.route("/builtin/deprecated/below", web::get().to(super::deprecated_below));
    }
}

mod elsewhere {
    api_key_renamed::made_elsewhere!(handler);

    pub(super) fn routes(config: &mut actix_web::web::ServiceConfig) {
        config.route("/renamed/elsewhere", actix_web::web::get().to(handler));
    }
}

// B13
#[test]
fn renamed_dependencies_do_not_break_the_attribute() {
    guarded(
        |config| {
            let paths = ["/renamed/plain", "/renamed/keyed", "/renamed/quoted", "/renamed/facade"];
            api_key_renamed::routes(config, paths, |path| {
                ran(path);
            });
            elsewhere::routes(config);
        },
        &[
            asks("/renamed/plain"),
            asks("/renamed/keyed").answers(200, "test"),
            asks("/renamed/quoted"),
            asks("/renamed/facade"),
            asks("/renamed/elsewhere"),
        ],
    );
}
