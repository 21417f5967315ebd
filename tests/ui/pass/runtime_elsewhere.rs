//! Handlers in a module where the runtime has another name or path.

use actix_web::{get, Responder};
use api_key_runtime as keys;

mod facade {
    pub(crate) use api_key_runtime as keys;
}

#[get("/facade")]
#[keys::require_app_key(crate = crate::runtime_elsewhere::facade::keys)]
pub(crate) async fn through_a_facade() -> impl Responder {
    "facade"
}

#[get("/name")]
#[keys::require_app_key(crate = keys, scopes = "a")]
pub(crate) async fn under_another_name() -> impl Responder {
    "name"
}
