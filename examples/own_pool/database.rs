//! The application's pool and tables. This example supports both databases, but a service needs the
//! code for only one of them.

use std::{error::Error, time::Duration};

use api_key_runtime::{
    AppKeys,
    admin::{Admin, KeySecret, NewKey},
};
use diesel::{
    connection::SimpleConnection as _,
    prelude::*,
    r2d2::{self, ConnectionManager, CustomizeConnection, Pool},
    result::{DatabaseErrorKind, Error::DatabaseError},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

diesel::table! {
    users (id) {
        id -> BigInt,
        email -> Text,
    }
}

/// Both folders contain copies of the library's migrations, so `AppKeysBuilder::migrate` is not
/// called.
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("own_pool/migrations/postgres");
const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("own_pool/migrations/sqlite");

const CONNECTIONS: u32 = 4;
/// The maximum wait for a connection. The default of r2d2, 30 seconds, would not help a request,
/// which gets 503 after `lookup_timeout` (1 second by default).
const POOL_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

pub(crate) enum Database {
    Postgres(Pool<ConnectionManager<PgConnection>>),
    Sqlite(Pool<ConnectionManager<SqliteConnection>>),
}

impl Database {
    /// Connects and runs the migrations. If several processes may start at once, put a lock around
    /// the migrations, as the example `cakes` does.
    pub(crate) fn open(url: &str) -> Result<Self, Failure> {
        if url.starts_with("postgres") {
            let pool = Pool::builder()
                .max_size(CONNECTIONS)
                .connection_timeout(POOL_TIMEOUT)
                .build(ConnectionManager::<PgConnection>::new(url))?;
            pool.get()?.run_pending_migrations(POSTGRES_MIGRATIONS)?;
            Ok(Self::Postgres(pool))
        } else {
            let pool = Pool::builder()
                .max_size(CONNECTIONS)
                .connection_timeout(POOL_TIMEOUT)
                .connection_customizer(Box::new(Settings))
                .build(ConnectionManager::<SqliteConnection>::new(url))?;
            pool.get()?.run_pending_migrations(SQLITE_MIGRATIONS)?;
            Ok(Self::Sqlite(pool))
        }
    }

    /// Returns `AppKeys` that look up keys through this pool. On Postgres, a separate connection
    /// receives notifications of changes. Without that connection, changes take effect within
    /// `max_staleness`.
    pub(crate) fn keys(&self, url: &str) -> Result<AppKeys, api_key_runtime::Error> {
        let settings = AppKeys::builder().env()?;
        match self {
            Self::Postgres(pool) => settings.postgres_pool(pool.clone()).listen_url(url),
            Self::Sqlite(pool) => settings.sqlite_pool(pool.clone()),
        }
        .build()
    }

    /// Creates a user and the first key in one transaction.
    pub(crate) fn sign_up(&self, admin: &Admin, email: &str) -> Result<KeySecret, Failure> {
        let user =
            diesel::insert_into(users::table).values(users::email.eq(email)).returning(users::id);
        match self {
            Self::Postgres(pool) => pool.get()?.transaction(|connection| {
                let id: i64 = user.get_result(connection)?;
                Ok(admin.issue_in_transaction(connection, &first_key(id))?.secret)
            }),
            // Takes the write lock when the transaction begins. A transaction that begins with a
            // read fails at its first write if another transaction has written in between.
            Self::Sqlite(pool) => pool.get()?.immediate_transaction(|connection| {
                let id: i64 = user.get_result(connection)?;
                Ok(admin.issue_in_transaction(connection, &first_key(id))?.secret)
            }),
        }
    }
}

fn first_key(user: i64) -> NewKey {
    NewKey::new("first").allow_any().owner(user.to_string())
}

pub(crate) fn is_taken(failure: &Failure) -> bool {
    matches!(failure.downcast_ref(), Some(DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
}

/// The settings of each SQLite connection. They make statements wait for other writers, and set the
/// pragmas that the tables of the keys need.
#[derive(Debug)]
struct Settings;

impl CustomizeConnection<SqliteConnection, r2d2::Error> for Settings {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), r2d2::Error> {
        connection
            .batch_execute(
                "PRAGMA busy_timeout = 1000; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON",
            )
            .map_err(r2d2::Error::QueryError)
    }
}
