//! Every method that reaches a handler, however it was registered, and preflights, which reach none.

use actix_cors::Cors;
use actix_web::{
    HttpRequest,
    guard::{self, Guard as _},
    http::Method,
    route, web,
};
use api_key_runtime::{AppKeys, require_app_key};

use super::{Case, case, guarded, ran, runs};
use crate::support::{Database, Server, http};

const METHODS: [&str; 14] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "QUERY",
    "PURGE",
    "PROPFIND",
    "FROBNICATE",
    "M-SEARCH",
    "get",
];

#[require_app_key]
async fn any(request: HttpRequest) -> String {
    ran(request.path())
}

#[route("/methods/custom", method = "PURGE", method = "FROBNICATE")]
#[require_app_key]
async fn custom(request: HttpRequest) -> String {
    ran(request.path())
}

fn everywhere(config: &mut web::ServiceConfig) {
    config
        .service(custom)
        .route("/methods/route", web::route().to(any))
        .route("/methods/to", web::to(any))
        .service(web::resource("/methods/resource").to(any))
        .service(
            web::resource("/methods/default")
                .route(web::post().guard(guard::Header("x-never", "yes")).to(any))
                .default_service(web::to(any)),
        )
        .service(
            web::scope("/methods/scope")
                .service(web::scope("/inner").default_service(web::route().to(any))),
        )
        .route(
            "/methods/guarded",
            web::route()
                .guard(
                    guard::Any(guard::Get())
                        .or(guard::fn_guard(|context| !guard::Get().check(context))),
                )
                .to(any),
        );
}

// B12
#[test]
fn every_method_is_guarded_however_the_handler_is_registered() {
    let paths = [
        "/methods/route",
        "/methods/to",
        "/methods/resource",
        "/methods/default",
        "/methods/scope/inner",
        "/methods/guarded",
    ];
    let mut cases: Vec<Case> =
        paths.into_iter().flat_map(|path| METHODS.map(|method| case(method, path))).collect();
    cases.extend(["PURGE", "FROBNICATE"].map(|method| case(method, "/methods/custom")));
    guarded(everywhere, &cases);
}

#[require_app_key]
async fn shared(request: HttpRequest) -> String {
    ran(request.path())
}

#[require_app_key(scopes = "cakes:bake")]
async fn scoped(request: HttpRequest) -> String {
    ran(request.path())
}

const ORIGIN: &str = "https://shop.example";

fn behind_cors(keys: AppKeys) -> Server {
    Server::configured(move |config| {
        let cors = Cors::default()
            .allowed_origin(ORIGIN)
            .allowed_methods([Method::GET, Method::DELETE])
            .allowed_headers(["x-api-key", "authorization"]);
        config.service(
            web::scope("/cors")
                .app_data(keys.clone())
                .wrap(cors)
                .route("/shared", web::route().to(shared))
                .service(web::resource("/scoped").to(scoped)),
        );
    })
}

// B12
#[test]
fn a_preflight_needs_no_key_and_refusals_carry_the_headers_of_cors() {
    let database = Database::sqlite();
    let server = behind_cors(database.keys());
    let (key, _) = database.issue("0.0.0.0");
    let origin = format!("Origin: {ORIGIN}");
    let credential = format!("X-API-Key: {key}");
    for path in ["/cors/shared", "/cors/scoped"] {
        for method in ["GET", "DELETE"] {
            let asked = format!("Access-Control-Request-Method: {method}");
            let headers = "Access-Control-Request-Headers: x-api-key";
            let answer =
                http::request(server.address, "OPTIONS", path, &[&origin, &asked, headers]);
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "{path}");
        }
        assert_eq!(runs(path), 0, "{path}");
    }
    let allows = |path, lines: &[&str]| {
        let answer = http::get(server.address, path, lines);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "{path}");
        answer.status
    };
    assert_eq!(allows("/cors/shared", &[&origin]), 401);
    assert_eq!(allows("/cors/scoped", &[&origin]), 401);
    assert_eq!(allows("/cors/scoped", &[&origin, &credential]), 403);
    assert_eq!([runs("/cors/shared"), runs("/cors/scoped")], [0, 0]);
    assert_eq!(allows("/cors/shared", &[&origin, &credential]), 200);
    assert_eq!(runs("/cors/shared"), 1);
    // An `OPTIONS` that is no preflight is a request like any other.
    let options = http::request(server.address, "OPTIONS", "/cors/shared", &[&origin]);
    assert_eq!((options.status, runs("/cors/shared")), (401, 1));
}
