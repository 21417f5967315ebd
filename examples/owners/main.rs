//! A service with users who own keys. The application's own migration adds a user column to the key
//! table. If a user is deleted, the user's keys are deleted too.
//!
//! ```sh
//! DATABASE_URL=owners.db cargo run --example owners
//! ```
//!
//! The `DATABASE_URL` may name a Postgres database instead. Then run in another terminal:
//!
//! ```sh
//! KEY=$(curl -sS -d name=ada http://127.0.0.1:8080/users)
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/me
//! curl -sS -H "Authorization: Bearer $KEY" -X DELETE http://127.0.0.1:8080/me
//! sleep 1
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/me
//! ```
//!
//! The second line prints `Hello, ada. Your keys: first.`, and the last request gets 401. When the
//! user is deleted, the foreign key constraint deletes the key, and the triggers log the change.
//! Every process that uses this database then rejects the key. This usually takes milliseconds, and
//! at most `AppKeysBuilder::max_staleness` (1 second by default).

mod connection;
mod users;

use std::env;

use actix_web::{
    App, HttpResponse, HttpServer, delete,
    error::{ErrorInternalServerError, ErrorNotFound},
    get,
    http::header::CACHE_CONTROL,
    post,
    web::{self, Data, Form},
};
use api_key_runtime::{AppKey, AppKeys, admin::Admin, migrations, require_app_key};
use serde::Deserialize;

use crate::{
    connection::AnyConnection,
    users::{Failure, Place},
};

#[derive(Deserialize)]
struct SignUp {
    name: String,
}

#[post("/users")]
async fn sign_up(
    form: Form<SignUp>,
    place: Data<Place>,
    admin: Data<Admin>,
) -> actix_web::Result<HttpResponse> {
    let key = run(place, move |connection| users::sign_up(connection, &admin, &form.name)).await?;
    Ok(HttpResponse::Created()
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(format!("{}\n", key.expose_secret())))
}

#[get("/me")]
#[require_app_key]
async fn me(key: AppKey, place: Data<Place>) -> actix_web::Result<String> {
    let owner = run(place, move |connection| users::of_key(connection, key.id())).await?;
    let owner = owner.ok_or_else(|| ErrorNotFound("This key has no user.\n"))?;
    Ok(format!("Hello, {}. Your keys: {}.\n", owner.name, owner.keys.join(", ")))
}

#[delete("/me")]
#[require_app_key]
async fn delete_me(key: AppKey, place: Data<Place>) -> actix_web::Result<HttpResponse> {
    run(place, move |connection| users::delete_owner_of(connection, key.id())).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Runs queries over a new connection, on a thread that may block. The example `own_pool` shows how
/// to use a pool.
async fn run<T: Send + 'static>(
    place: Data<Place>,
    queries: impl FnOnce(&mut AnyConnection) -> Result<T, Failure> + Send + 'static,
) -> actix_web::Result<T> {
    let done = web::block(move || queries(&mut place.connect()?)).await?;
    done.map_err(|failure| {
        log::error!("the queries failed: {failure}");
        ErrorInternalServerError("The database failed.\n")
    })
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let url = env::var("DATABASE_URL")?;
    let bind = env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    // The key tables come first, because the migration of the users table refers to them.
    migrations::run(&url)?;
    let place = Place::migrated(url)?;
    let keys = AppKeys::builder().env()?.build()?;
    let admin = keys.admin()?;
    let (place, admin) = (Data::new(place), Data::new(admin.clone()));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(keys.clone())
            .app_data(admin.clone())
            .app_data(place.clone())
            .service(sign_up)
            .service(me)
            .service(delete_me)
    });
    server.bind(bind)?.run().await?;
    Ok(())
}
