//! The service of `product.rs`, guarded only by the middleware, which wraps routes, resources and
//! scopes.

use actix_web::{HttpResponse, web};
use api_key_runtime::{AppKey, RequireAppKey};

use super::routes::{self, Run};

const ANY_KEY: RequireAppKey = RequireAppKey::new();
const ALL_OF: RequireAppKey = RequireAppKey::new().scopes("cakes:write cakes:delete");
const ANY_OF: RequireAppKey = RequireAppKey::new().any_scope("cakes:write cakes:read");
const WRITE: RequireAppKey = RequireAppKey::new().scopes("cakes:write");

async fn optional(run: Run, _: Option<AppKey>) -> HttpResponse {
    run.cake()
}

async fn from(run: Run, key: AppKey) -> HttpResponse {
    run.caller(key.client_ip())
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    let files =
        web::scope("/files").wrap(ANY_KEY).route("/{path:.*}", web::route().to(routes::cake));
    // Requests below `/scopes` are checked twice: here, and by the inner guard, which requires key
    // scopes.
    let scopes = web::scope("/scopes")
        .wrap(ANY_KEY)
        .service(web::resource("/all").wrap(ALL_OF).get(routes::cake))
        .service(web::resource("/any").wrap(ANY_OF).get(routes::cake))
        .route("/body", web::post().to(routes::json).wrap(WRITE));
    // The empty scope matches all other paths, so it must come last.
    let others = web::scope("")
        .wrap(ANY_KEY)
        .route("/json", web::post().to(routes::json))
        .route("/text", web::post().to(routes::text))
        .route("/search", web::get().to(routes::search))
        .route("/number/{number}", web::get().to(routes::number))
        .route("/from", web::get().to(from))
        .route("/socket", web::get().to(routes::socket));
    config
        .route("/public", web::get().to(routes::public))
        .route("/public", web::post().to(routes::public))
        .service(web::resource("/guarded").wrap(ANY_KEY).to(routes::cake))
        .route("/get-only", web::get().to(routes::cake).wrap(ANY_KEY))
        .route("/head-only", web::head().to(routes::cake).wrap(ANY_KEY))
        .service(web::resource("/optional").wrap(ANY_KEY.optional()).get(optional))
        .service(files)
        .service(scopes)
        .service(others);
}
