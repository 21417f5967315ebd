//! Handlers with other attributes besides `#[require_app_key]`.

use actix_web::{get as fetch, routes, Responder};
use api_key_runtime::require_app_key;

/// Documented.
#[require_app_key]
#[routes]
#[get("/routes")]
#[post("/routes")]
pub(crate) async fn several_routes() -> impl Responder {
    "routes"
}

#[fetch("/renamed")]
#[require_app_key]
pub(crate) async fn under_a_renamed_route_macro() -> impl Responder {
    "renamed"
}

#[require_app_key]
#[cfg_attr(all(), actix_web::get("/conditional"), doc = "Documented where it is built.")]
#[cfg(not(any()))]
pub(crate) async fn conditional(#[cfg(any())] _never: u8) -> impl Responder {
    "conditional"
}

#[actix_web::get("/lints")]
#[require_app_key]
#[expect(unused_variables, reason = "the lint reaches the body")]
pub(crate) async fn lint_levels() -> impl Responder {
    let unused = 1;
    "lints"
}

#[actix_web::get("/documented")]
#[require_app_key]
pub(crate) async fn documented() -> impl Responder {
    "documented"
}
