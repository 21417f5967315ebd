//! A service that passes its own connection pool to the library and runs its own migrations. A
//! sign-up creates a user and the user's first key in one transaction.
//!
//! ```sh
//! DATABASE_URL=own_pool.db cargo run --example own_pool
//! ```
//!
//! The `DATABASE_URL` may name a Postgres database instead. Then run in another terminal:
//!
//! ```sh
//! KEY=$(curl -sS -d email=ada@example.org http://127.0.0.1:8080/users)
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/me
//! curl -sS -d email=ada@example.org http://127.0.0.1:8080/users
//! ```
//!
//! The second line prints `Hello, user 1.` The third request gets 409 and issues no key, because
//! the user already exists.
//!
//! The folder `migrations/sqlite` contains the migrations of the application and of the library.
//! The following command copied the library's migrations. Repeat the command after each update of
//! the library:
//! `cargo app-key migrations copy examples/own_pool/migrations/sqlite --database sqlite`

mod database;

use std::env;

use actix_web::{
    App, HttpResponse, HttpServer, get,
    http::header::CACHE_CONTROL,
    post,
    web::{self, Data, Form},
};
use api_key_runtime::{AppKey, admin::Admin, require_app_key};
use serde::Deserialize;

use crate::database::{Database, Failure, is_taken};

#[derive(Deserialize)]
struct SignUp {
    email: String,
}

#[post("/users")]
async fn sign_up(
    form: Form<SignUp>,
    database: Data<Database>,
    admin: Data<Admin>,
) -> actix_web::Result<HttpResponse> {
    let done = web::block(move || database.sign_up(&admin, &form.email)).await?;
    Ok(match done {
        Ok(key) => HttpResponse::Created()
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(format!("{}\n", key.expose_secret())),
        Err(failure) if is_taken(&failure) => {
            HttpResponse::Conflict().body("A user with this address already exists.\n")
        }
        Err(failure) => {
            log::error!("the sign-up failed: {failure}");
            HttpResponse::InternalServerError().finish()
        }
    })
}

#[get("/me")]
#[require_app_key]
async fn me(key: AppKey) -> String {
    format!("Hello, user {}.\n", key.owner().unwrap_or("without a name"))
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let url = env::var("DATABASE_URL")?;
    let bind = env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let database = Database::open(&url)?;
    let keys = database.keys(&url)?;
    let admin = keys.admin()?;
    let (database, admin) = (Data::new(database), Data::new(admin.clone()));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(keys.clone())
            .app_data(admin.clone())
            .app_data(database.clone())
            .service(sign_up)
            .service(me)
    });
    server.bind(bind)?.run().await?;
    Ok(())
}
