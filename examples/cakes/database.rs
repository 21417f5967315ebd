//! The service's own database connections: a pool for Postgres or SQLite.
//!
//! The library has separate connections for the keys, so a key check never waits for a connection
//! of this pool.

use std::{error::Error, thread, time::Duration};

use actix_web::web;
use diesel::{
    Connection as _, ConnectionResult, PgConnection, QueryResult, RunQueryDsl as _,
    SqliteConnection,
    connection::SimpleConnection as _,
    r2d2::{self, ManageConnection, Pool, R2D2Connection as _},
    sql_query,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::{connection::AnyConnection, jsend::Failure};

const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("cakes/migrations/postgres");
const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("cakes/migrations/sqlite");
/// The statement that takes an advisory lock. Any number works if no other program locks the same
/// number in this database.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(20260101)";

const CONNECTIONS: u32 = 4;
/// The maximum time that a request waits for a connection.
const POOL_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Database(Pool<Place>);

impl Database {
    /// Connects, and runs the service's own migrations.
    pub(crate) fn open(url: &str) -> Result<Self, Box<dyn Error>> {
        let place = Place::parse(url);
        migrate(&mut place.connect()?)
            .map_err(|source| format!("cannot run the migrations of the cakes table: {source}"))?;
        let pool =
            Pool::builder().max_size(CONNECTIONS).connection_timeout(POOL_TIMEOUT).build(place)?;
        Ok(Self(pool))
    }

    /// Runs queries on a thread that may block. Errors of the driver are logged and not sent to the
    /// caller.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        queries: impl FnOnce(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let pool = self.0.clone();
        let done = web::block(move || {
            let mut connection = pool.get().map_err(|error| {
                log::error!("no database connection: {error}");
                Failure::Busy
            })?;
            queries(&mut connection).map_err(|error| {
                log::error!("a query failed: {error}");
                Failure::Database
            })
        });
        done.await.unwrap_or_else(|error| {
            log::error!("the queries did not run: {error}");
            Err(Failure::Busy)
        })
    }
}

/// The location of the database. Diesel's own `ConnectionManager<AnyConnection>` would try Postgres
/// first and then SQLite. If the server were unavailable, the manager would create an SQLite file
/// named like the URL.
#[derive(Debug)]
enum Place {
    Postgres(String),
    Sqlite(String),
}

impl Place {
    /// Parses the location in a similar way to `AppKeys`. A Postgres URL, or a text with `host=`,
    /// `dbname=` or `service=`, names a server. Any other text is the path of a file.
    fn parse(url: &str) -> Self {
        let url = url.trim();
        let is_postgres = url.starts_with("postgres://")
            || url.starts_with("postgresql://")
            || ["host=", "dbname=", "service="].iter().any(|keyword| url.contains(keyword));
        if is_postgres {
            return Self::Postgres(url.to_owned());
        }
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        Self::Sqlite(path.strip_prefix("//").unwrap_or(path).to_owned())
    }
}

impl ManageConnection for Place {
    type Connection = AnyConnection;
    type Error = r2d2::Error;

    fn connect(&self) -> Result<AnyConnection, r2d2::Error> {
        match self {
            Self::Postgres(url) => {
                connected(PgConnection::establish(url)).map(AnyConnection::Postgres)
            }
            Self::Sqlite(path) => {
                let mut connection = connected(SqliteConnection::establish(path))?;
                // WAL mode is not set here, because `migrations::run` has set it and the file keeps
                // it.
                connection
                    .batch_execute("PRAGMA busy_timeout = 2000; PRAGMA foreign_keys = ON")
                    .map_err(r2d2::Error::QueryError)?;
                Ok(AnyConnection::Sqlite(connection))
            }
        }
    }

    fn is_valid(&self, connection: &mut AnyConnection) -> Result<(), r2d2::Error> {
        connection.ping().map_err(r2d2::Error::QueryError)
    }

    fn has_broken(&self, connection: &mut AnyConnection) -> bool {
        thread::panicking() || connection.is_broken()
    }
}

fn connected<C>(result: ConnectionResult<C>) -> Result<C, r2d2::Error> {
    result.map_err(r2d2::Error::ConnectionError)
}

/// Runs the migrations under a lock, because several processes may start on a new database at once.
fn migrate(connection: &mut AnyConnection) -> Result<(), Box<dyn Error + Send + Sync>> {
    match connection {
        AnyConnection::Postgres(connection) => connection.transaction(|connection| {
            sql_query(MIGRATION_LOCK).execute(connection)?;
            connection.run_pending_migrations(POSTGRES_MIGRATIONS).map(drop)
        }),
        AnyConnection::Sqlite(connection) => connection.exclusive_transaction(|connection| {
            connection.run_pending_migrations(SQLITE_MIGRATIONS).map(drop)
        }),
    }
}
