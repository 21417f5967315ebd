//! The smallest example: a route that requires an API key.

use actix_web::{App, HttpServer, get};
use api_key_runtime::{AppKey, AppKeys, require_app_key};

#[get("/me")]
#[require_app_key]
async fn me(key: AppKey) -> String {
    format!("Hello, {}.\n", key.name())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init_from_env(env_logger::Env::new().default_filter_or("info"));
    let keys = AppKeys::builder().env()?.migrate()?.build()?;
    let app = move || App::new().app_data(keys.clone()).service(me);
    let bind = std::env::var("BIND").unwrap_or("127.0.0.1:8080".into());
    HttpServer::new(app).bind(bind)?.run().await?;
    Ok(())
}
