//! A service whose keys are the tokens of an existing table.
//!
//! ```sh
//! DATABASE_URL=own_table.db cargo run -p app-key-own-table
//! ```
//!
//! Then run in another terminal, with the same `DATABASE_URL`:
//!
//! ```sh
//! KEY=$(cargo run -q -p app-key-own-table issue shop)
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/whoami
//! cargo run -q -p app-key-own-table end 1
//! sleep 1
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/whoami
//! ```
//!
//! The first request is answered `Hello, shop.`. The second request gets 401, because by then the
//! service has read the change from the store. `cargo test -p app-key-own-table` runs the test
//! suite that every store must pass.

use std::{env, error::Error};

use actix_web::{App, HttpServer, get};
use api_key_runtime::{AppKey, AppKeys, admin::NewKey, require_app_key};
use chrono::Utc;
use own_table::PartnerTokens;

#[get("/whoami")]
#[require_app_key]
async fn whoami(key: AppKey) -> String {
    format!("Hello, {}.\n", key.name())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let tokens = PartnerTokens::open(&env::var("DATABASE_URL")?)?;
    let keys = AppKeys::builder().store(tokens.clone()).prefix("partner_").build()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => serve(keys).await,
        ["issue", label] => {
            let issued = keys.make_key(&NewKey::new(label).allow_any())?;
            tokens.insert(&issued.record)?;
            println!("{}", issued.secret.expose_secret());
            Ok(())
        }
        ["end", number] if tokens.end(number.parse()?, Utc::now())? => Ok(()),
        ["end", number] => Err(format!("there is no token {number}").into()),
        _ => Err("usage: own_table [issue LABEL | end NUMBER]".into()),
    }
}

async fn serve(keys: AppKeys) -> Result<(), Box<dyn Error>> {
    let bind = env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let server = HttpServer::new(move || App::new().app_data(keys.clone()).service(whoami));
    server.bind(bind)?.run().await?;
    Ok(())
}
