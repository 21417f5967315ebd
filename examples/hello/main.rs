//! The least there is to it: one handler for everyone, and one for callers with a key.

use std::time::Duration;

use actix_web::{App, HttpServer, get};
use api_key_runtime::{AppKey, AppKeys, require_app_key};

#[get("/")]
async fn hello() -> &'static str {
    "Hello, whoever you are.\n"
}

#[get("/me")]
#[require_app_key]
async fn me(key: AppKey) -> String {
    format!("Hello, {}.\n", key.name())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let keys = AppKeys::builder().env()?.migrate()?.build()?;
    let bind = std::env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let served = keys.clone();
    let server =
        HttpServer::new(move || App::new().app_data(served.clone()).service(hello).service(me));
    server.bind(bind)?.run().await?;
    keys.close(Duration::from_secs(5))?;
    Ok(())
}
