//! The attribute above and below each macro that registers a handler.

use actix_web::{guard::GuardContext, middleware::DefaultHeaders, web};

use super::{Case, case, guarded, ran};
use crate::support::{Database, Server, http};

/// For each route macro, defines handlers with the attribute above and below the macro, once with
/// imported names and once with full paths. All these handlers have the name of the macro, so they
/// are in separate modules.
macro_rules! methods {
    ($($route:ident $method:literal)*) => {
        mod above {
            use actix_web::{$($route),*};
            use api_key_runtime::require_app_key;

            $(
                #[require_app_key]
                #[$route("/above")]
                pub(super) async fn $route() -> String {
                    super::ran(concat!("/above/", $method))
                }
            )*
        }

        mod below {
            use actix_web::{$($route),*};
            use api_key_runtime::require_app_key;

            $(
                #[$route("/below")]
                #[require_app_key]
                pub(super) async fn $route() -> String {
                    super::ran(concat!("/below/", $method))
                }
            )*
        }

        mod named_in_full {
            $(
                #[api_key_runtime::require_app_key]
                #[actix_web::$route("/in-full/above")]
                pub(super) async fn $route() -> String {
                    super::ran(concat!("/in-full/above/", $method))
                }
            )*

            pub(super) mod below {
                $(
                    #[::actix_web::$route("/in-full/below")]
                    #[::api_key_runtime::require_app_key]
                    pub(in super::super) async fn $route() -> String {
                        super::super::ran(concat!("/in-full/below/", $method))
                    }
                )*
            }
        }

        fn method_routes(config: &mut web::ServiceConfig) {
            config
                $(
                    .service(above::$route)
                    .service(below::$route)
                    .service(named_in_full::$route)
                    .service(named_in_full::below::$route)
                )*;
        }

        fn method_cases() -> Vec<Case> {
            vec![
                $(
                    case($method, concat!("/above/", $method)).at("/above"),
                    case($method, concat!("/below/", $method)).at("/below"),
                    case($method, concat!("/in-full/above/", $method)).at("/in-full/above"),
                    case($method, concat!("/in-full/below/", $method)).at("/in-full/below"),
                )*
            ]
        }
    };
}

methods! {
    get "GET"
    post "POST"
    put "PUT"
    delete "DELETE"
    head "HEAD"
    connect "CONNECT"
    options "OPTIONS"
    trace "TRACE"
    patch "PATCH"
    query "QUERY"
}

// B12, B13
#[test]
fn above_and_below_each_route_macro_a_handler_is_guarded() {
    guarded(method_routes, &method_cases());
}

/// Route macros with several methods or paths. Their arguments differ too much for one
/// `macro_rules!` macro.
mod several {
    use actix_web::{HttpRequest, get, route, routes};
    use api_key_runtime::require_app_key;

    use super::ran;

    #[route("/route/below", method = "GET", method = "POST", method = "PURGE")]
    #[require_app_key]
    pub(super) async fn route_below(request: HttpRequest) -> String {
        format!("{} {}", ran("/route/below"), request.method())
    }

    #[require_app_key]
    #[route("/route/above", method = "GET", method = "POST", method = "PURGE")]
    pub(super) async fn route_above(request: HttpRequest) -> String {
        format!("{} {}", ran("/route/above"), request.method())
    }

    #[routes]
    #[get("/routes/below/get")]
    #[post("/routes/below/post")]
    #[require_app_key]
    pub(super) async fn routes_below() -> String {
        ran("/routes/below")
    }

    #[require_app_key]
    #[routes]
    #[get("/routes/above/get")]
    #[post("/routes/above/post")]
    pub(super) async fn routes_above() -> String {
        ran("/routes/above")
    }

    #[routes]
    #[get("/routes/between/get")]
    #[require_app_key]
    #[put("/routes/between/put")]
    #[delete("/routes/between/delete")]
    pub(super) async fn routes_between() -> String {
        ran("/routes/between")
    }

    #[routes]
    #[require_app_key]
    #[get("/routes/second/get")]
    #[get("/routes/second/also")]
    pub(super) async fn routes_second() -> String {
        ran("/routes/second")
    }

    #[doc = "Between documentation and lint levels."]
    #[allow(unused)]
    #[require_app_key]
    #[doc = "More of it."]
    #[get(r"/raw/{rest:.*}")]
    #[allow(clippy::unused_async)]
    pub(super) async fn raw() -> String {
        ran("/raw")
    }
}

// B12, B13
#[test]
fn among_several_route_macros_all_routes_are_guarded() {
    let answers = |method, path| {
        let answer = format!("{path} {method}");
        case(method, path).answers(200, answer)
    };
    let mut cases = vec![
        case("GET", "/routes/below").at("/routes/below/get"),
        case("POST", "/routes/below").at("/routes/below/post"),
        case("GET", "/routes/above").at("/routes/above/get"),
        case("POST", "/routes/above").at("/routes/above/post"),
        case("GET", "/routes/between").at("/routes/between/get"),
        case("PUT", "/routes/between").at("/routes/between/put"),
        case("DELETE", "/routes/between").at("/routes/between/delete"),
        case("GET", "/routes/second").at("/routes/second/get"),
        case("GET", "/routes/second").at("/routes/second/also"),
        case("GET", "/raw").at("/raw/a/b"),
    ];
    for method in ["GET", "POST", "PURGE"] {
        cases.extend([answers(method, "/route/below"), answers(method, "/route/above")]);
    }
    guarded(
        |config| {
            config
                .service(several::route_below)
                .service(several::route_above)
                .service(several::routes_below)
                .service(several::routes_above)
                .service(several::routes_between)
                .service(several::routes_second)
                .service(several::raw);
        },
        &cases,
    );
}

/// The prefix applies to route macros above and below the attribute.
#[actix_web::scope("/scoped")]
mod scoped {
    use actix_web::{get, route, routes};
    use api_key_runtime::require_app_key;

    use super::ran;

    #[get("/below")]
    #[require_app_key]
    pub(super) async fn below() -> String {
        ran("/scoped/below")
    }

    #[require_app_key]
    #[get("/above")]
    pub(super) async fn above() -> String {
        ran("/scoped/above")
    }

    #[require_app_key(any_scope = "cakes:read cakes:write", optional)]
    #[get("/optional")]
    pub(super) async fn optional() -> String {
        ran("/scoped/optional")
    }

    #[require_app_key]
    #[route("/route", method = "GET", method = "POST")]
    pub(super) async fn route_above() -> String {
        ran("/scoped/route")
    }

    #[routes]
    #[get("/routes/get")]
    #[post("/routes/post")]
    #[require_app_key]
    pub(super) async fn routes_below() -> String {
        ran("/scoped/routes")
    }
}

// B13
#[test]
fn handlers_in_a_scope_module_are_guarded_under_its_prefix() {
    guarded(
        |config| {
            config
                .service(scoped::below)
                .service(scoped::above)
                .service(scoped::route_above)
                .service(scoped::routes_below);
        },
        &[
            case("GET", "/scoped/below"),
            case("GET", "/scoped/above"),
            case("GET", "/scoped/route"),
            case("POST", "/scoped/route"),
            case("GET", "/scoped/routes").at("/scoped/routes/get"),
            case("POST", "/scoped/routes").at("/scoped/routes/post"),
        ],
    );
    let database = Database::sqlite();
    let server = Server::start(database.keys(), |config| {
        config.service(scoped::optional);
    });
    let (key, _) = database.issue("0.0.0.0");
    let status = |lines: &[&str]| http::get(server.address, "/scoped/optional", lines).status;
    assert_eq!(status(&[]), 200);
    assert_eq!(status(&[&format!("X-API-Key: {key}")]), 403);
}

fn has_door(context: &GuardContext<'_>) -> bool {
    context.head().headers().contains_key("x-door")
}

fn stamped() -> DefaultHeaders {
    DefaultHeaders::new().add(("x-stamped", "yes"))
}

mod wrapped {
    use actix_web::{get, route};
    use api_key_runtime::require_app_key;

    use super::ran;

    #[get("/wrapped/below", name = "wrapped", guard = "super::has_door", wrap = "super::stamped()")]
    #[require_app_key]
    pub(super) async fn below() -> String {
        ran("/wrapped/below")
    }

    #[require_app_key]
    #[get(
        "/wrapped/above",
        guard = "super::has_door",
        wrap = "super::stamped()",
        wrap = "actix_web::middleware::NormalizePath::trim()"
    )]
    pub(super) async fn above() -> String {
        ran("/wrapped/above")
    }

    #[require_app_key]
    #[route(
        "/wrapped/route",
        method = "GET",
        method = "POST",
        guard = "super::has_door",
        wrap = "super::stamped()"
    )]
    pub(super) async fn route_above() -> String {
        ran("/wrapped/route")
    }
}

fn wrapped_routes(config: &mut web::ServiceConfig) {
    config.service(wrapped::below).service(wrapped::above).service(wrapped::route_above);
}

const WRAPPED: [&str; 3] = ["/wrapped/below", "/wrapped/above", "/wrapped/route"];

// B13
#[test]
fn guards_and_middleware_of_a_route_macro_run_first() {
    guarded(wrapped_routes, &WRAPPED.map(|path| case("GET", path).line("X-Door: open")));
    let database = Database::sqlite();
    let server = Server::start(database.keys(), wrapped_routes);
    let (key, _) = database.issue("0.0.0.0");
    let credential = format!("X-API-Key: {key}");
    for path in WRAPPED {
        // A rejection is a response, so the middleware sees it too.
        for (lines, status) in
            [(vec!["X-Door: open"], 401), (vec!["X-Door: open", &*credential], 200)]
        {
            let answer = http::get(server.address, path, &lines);
            assert_eq!(
                (answer.status, answer.header("x-stamped")),
                (status, Some("yes")),
                "{path}"
            );
        }
        for lines in [vec![], vec![&*credential]] {
            assert_eq!(http::get(server.address, path, &lines).status, 404, "{path}");
        }
    }
}
