//! A route for each kind of guard, with empty responses.

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{RequireAppKey, require_app_key};

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[get("/optional")]
#[require_app_key(optional)]
async fn optional() -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[get("/scoped")]
#[require_app_key(scopes = "cakes:delete")]
async fn scoped() -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// Registers `/guarded`, `/optional`, `/scoped`, and `/twice/guarded`, which has two guards.
pub(crate) fn guarded_routes(config: &mut web::ServiceConfig) {
    let twice = web::scope("/twice").wrap(RequireAppKey::new()).service(guarded);
    config.service(twice).service(guarded).service(optional).service(scoped);
}
