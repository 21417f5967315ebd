//! A service whose middleware `RequireAppKey` protects a whole scope and the files of a folder. One
//! route is public.
//!
//! ```sh
//! DATABASE_URL=middleware.db cargo run --example middleware
//! ```
//!
//! The `DATABASE_URL` may name a Postgres database instead. Then run in another terminal, with the
//! same `DATABASE_URL`:
//!
//! ```sh
//! KEY=$(cargo app-key issue --name me --ip 127.0.0.1 --scope reports:read)
//! curl -sS http://127.0.0.1:8080/health
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/reports/2026
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/files/
//! curl -sS http://127.0.0.1:8080/files/prices.txt
//! curl -sS http://127.0.0.1:8080/reports/no-such-page/at-all
//! ```
//!
//! The last two requests get 401, although the first path exists and the second does not. A client
//! without a key sees no difference. With a key that lacks the scope `reports:read`, a client can
//! read the files but not the reports.

use std::{env, error::Error};

use actix_files::Files;
use actix_web::{App, HttpServer, get, web};
use api_key_runtime::{AppKey, AppKeys, RequireAppKey};

/// Answers the load balancer. This route is registered outside both protected scopes.
#[get("/health")]
async fn health() -> &'static str {
    "ok\n"
}

/// Returns the report of a year. The handler needs no attribute, because the middleware of the
/// scope checks the request and provides the key.
#[get("/{year}")]
async fn report(year: web::Path<u16>, key: AppKey) -> String {
    format!("The {year} report for {}.\n", key.name())
}

fn routes(config: &mut web::ServiceConfig) {
    let reports =
        web::scope("/reports").wrap(RequireAppKey::new().scopes("reports:read")).service(report);
    // Do not put this folder inside a folder that is served without a key. Its files would then be
    // public.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/middleware/files");
    let files = web::scope("/files")
        .wrap(RequireAppKey::new())
        .service(Files::new("/", folder).index_file("index.html"));
    config.service(health).service(reports).service(files);
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let keys = AppKeys::builder().env()?.migrate()?.build()?;
    let bind = env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let server = HttpServer::new(move || App::new().app_data(keys.clone()).configure(routes));
    server.bind(bind)?.run().await?;
    Ok(())
}
