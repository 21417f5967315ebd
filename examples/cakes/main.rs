//! A bakery's API behind `#[require_app_key]`: `cargo run --example cakes`.
//!
//! Everyone may list the cakes. Baking or deleting a cake requires a key. `DATABASE_URL` names a
//! Postgres database or an SQLite file, which contains the cakes and the keys. `BIND` is the
//! address to listen on.

mod cake;
mod connection;
mod database;
mod handlers;
mod jsend;
mod settings;
mod welcome;

use std::{error::Error, process::ExitCode, time::Duration};

use actix_web::{App, HttpServer, dev::Server, web::Data};
use api_key_runtime::{AppKeys, KeyLocation, migrations};

use crate::{database::Database, settings::Settings};

/// Time for running requests to finish, in seconds. Together with [`CLOSE_TIMEOUT`], two seconds
/// remain until Docker kills the process, which is after 10 seconds by default.
const SHUTDOWN_TIMEOUT: u64 = 5;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

#[actix_web::main]
async fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cakes: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_env()?;
    migrations::run(&settings.database_url)?;
    let database = Data::new(Database::open(&settings.database_url)?);
    let keys = AppKeys::builder()
        .env()?
        // The clients of the Flask recipe use `?key=`. Do not accept keys in the URL in a new
        // service. URLs appear in browser histories, in the logs of every proxy, and in the
        // `Referer` of the next request. The access log below can redact keys only in the log of
        // this service.
        .key_locations([
            KeyLocation::bearer(),
            KeyLocation::header("X-API-Key"),
            KeyLocation::query("key"),
        ])
        .rejection_body(jsend::refusal)
        .build()?;

    let shared = keys.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(database.clone())
            .configure(handlers::routes)
            .wrap(jsend::errors())
            .wrap(shared.access_log())
    })
    .shutdown_timeout(SHUTDOWN_TIMEOUT)
    .disable_signals()
    .bind(&settings.bind)
    .map_err(|error| settings.cannot_listen(&error))?;

    let listening = server.addrs().first().copied().ok_or("the server has no address")?;
    welcome::print(&keys, listening)?;
    let server = server.run();
    stop_when_asked(&server)?;
    server.await?;
    // Writes the remaining key usage to the database, and merges the WAL file of SQLite into the
    // database file.
    keys.close(CLOSE_TIMEOUT)?;
    log::info!("stopped");
    Ok(())
}

/// Makes Ctrl-C wait for running requests, as SIGTERM does. By default, actix-web aborts running
/// requests on Ctrl-C.
#[cfg(unix)]
fn stop_when_asked(server: &Server) -> std::io::Result<()> {
    use actix_web::rt::{
        self,
        signal::unix::{SignalKind, signal},
    };
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut asked = signal(kind)?;
        let server = server.handle();
        rt::spawn(async move {
            asked.recv().await;
            server.stop(true).await;
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn stop_when_asked(server: &Server) -> std::io::Result<()> {
    use actix_web::rt::{self, signal::ctrl_c};
    let server = server.handle();
    rt::spawn(async move {
        if ctrl_c().await.is_ok() {
            server.stop(true).await;
        }
    });
    Ok(())
}
