//! When each key was used last, from where and how often: recorded in passing, whatever happens to the database.

mod counted;
mod faults;
#[cfg(unix)]
mod processes;

use std::time::Duration;

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{AppKeysBuilder, KeyUse, RequireAppKey, require_app_key};

use crate::support::{Database, PATIENCE, wait_until};

/// No use is recorded by itself within a test.
const NEVER: Duration = Duration::from_secs(3600);
/// How often uses are recorded where a test waits for it.
const SOON: Duration = Duration::from_millis(20);

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

fn routes(config: &mut web::ServiceConfig) {
    let twice = web::scope("/twice")
        .wrap(RequireAppKey::new())
        .service(guarded);
    config
        .service(twice)
        .service(guarded)
        .service(optional)
        .service(scoped);
}

/// A service that records uses this often.
fn recording(database: &Database, interval: Duration) -> AppKeysBuilder {
    database.migrate().builder().usage_interval(interval)
}

/// What is recorded of a key.
fn usage(database: &Database, id: i64) -> Option<KeyUse> {
    database.admin().usage_of(id).unwrap()
}

/// How often a key was used, as far as that is recorded.
fn count(database: &Database, id: i64) -> u64 {
    usage(database, id).map_or(0, |usage| usage.count)
}
