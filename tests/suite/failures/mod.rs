//! Failures of stores, databases and connections. No failure leads to a wrongly accepted request.

#[cfg(target_os = "linux")]
mod feed;
mod killed;
mod lookup;
mod outage;
mod pooler;
#[cfg(target_os = "linux")]
mod recovery;
#[cfg(target_os = "linux")]
mod silence;
mod startup;

use actix_web::{HttpResponse, get, web};
use api_key_runtime::require_app_key;

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[get("/health")]
async fn health() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(guarded).service(health);
}
