//! Tests of when a cached key is used without a query, and of when its entry becomes stale.

mod changes;
mod known;
mod own_store;
mod races;
mod unknown;

use std::net::SocketAddr;

use actix_web::{HttpResponse, get, web};
use api_key_runtime::require_app_key;

use crate::support::http;

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[get("/writers")]
#[require_app_key(scopes = "cakes:write")]
async fn writers() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(guarded).service(writers);
}

fn status(address: SocketAddr, key: &str) -> u16 {
    http::get_with(address, "/guarded", key).status
}
