//! A service with two key sets, each in its own database. Keys of colleagues are valid for
//! `/internal`, and keys of partners for `/partner`.
//!
//! ```sh
//! DATABASE_URL=internal.db PARTNER_DATABASE_URL=partner.db cargo run --example two_key_sets
//! ```
//!
//! Each variable may be the URL of a Postgres database instead. Then run in another terminal, with
//! the same two variables:
//!
//! ```sh
//! OURS=$(cargo app-key issue --name backup --ip 127.0.0.1)
//! THEIRS=$(DATABASE_URL=$PARTNER_DATABASE_URL APP_KEY_PREFIX=partner_ \
//!   cargo app-key issue --name shop --ip 127.0.0.1)
//! curl -sS -H "Authorization: Bearer $OURS" http://127.0.0.1:8080/internal/whoami
//! curl -sS -H "Authorization: Bearer $THEIRS" http://127.0.0.1:8080/partner/whoami
//! curl -sS -H "Authorization: Bearer $THEIRS" http://127.0.0.1:8080/internal/whoami
//! ```
//!
//! The last request gets 401, like any unknown key. The prefix shows people which set a key belongs
//! to, but has no effect on checks. The sets are separate because their databases are separate.

use std::{env, error::Error};

use actix_web::{App, HttpServer, get, web};
use api_key_runtime::{AppKey, AppKeys, require_app_key};

/// Returns the name of the key. The handler is registered in both scopes, and each scope checks its
/// own key set.
#[get("/whoami")]
#[require_app_key]
async fn whoami(key: AppKey) -> String {
    format!("Hello, {}.\n", key.name())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let internal = AppKeys::builder().env()?.migrate()?.build()?;
    let partner_url = env::var("PARTNER_DATABASE_URL").map_err(|_| {
        "PARTNER_DATABASE_URL is not set or not Unicode; set it to postgres://USER@HOST/DATABASE or to the path of an SQLite file"
    })?;
    let partner = AppKeys::builder()
        .database_url(partner_url)
        .migrate()?
        .prefix("partner_")
        // Sets the realm in the `WWW-Authenticate` header of a 401 response.
        .realm("partner")
        .build()?;
    let bind = env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let server = HttpServer::new(move || {
        // The key sets are registered on the scopes and not on the application. A scope without its
        // own key set would inherit the key set of the application.
        let internal = web::scope("/internal").app_data(internal.clone());
        let partner = web::scope("/partner").app_data(partner.clone());
        App::new().service(internal.service(whoami)).service(partner.service(whoami))
    });
    server.bind(bind)?.run().await?;
    Ok(())
}
