//! The application's own pool: connections are borrowed from it for a moment each, and never held.

use std::time::Duration;

use diesel::r2d2::{ConnectionManager, Pool, PooledConnection, R2D2Connection};
#[cfg(feature = "sqlite")]
use diesel::{RunQueryDsl as _, prelude::QueryableByName, sql_query, sql_types};

#[cfg(feature = "sqlite")]
use super::sqlite::FileIdentity;
use crate::Error;

pub(crate) type Pooled<C> = PooledConnection<ConnectionManager<C>>;

/// How long a look-up or a read of the changes waits for a connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A pool of connections to a Postgres.
#[cfg(feature = "postgres")]
#[derive(Clone)]
pub(crate) struct PostgresPool(Pool<ConnectionManager<diesel::PgConnection>>);

#[cfg(feature = "postgres")]
impl PostgresPool {
    pub(crate) fn new(pool: Pool<ConnectionManager<diesel::PgConnection>>) -> Self {
        warn_of_patience(&pool);
        Self(pool)
    }

    pub(super) fn get(&self, patience: Duration) -> Result<Pooled<diesel::PgConnection>, Error> {
        get(&self.0, patience)
    }

    pub(super) fn patience(&self) -> Duration {
        self.0.connection_timeout()
    }

    pub(super) fn idle(&self) -> u32 {
        self.0.state().idle_connections
    }
}

/// A pool of connections to an SQLite file.
#[cfg(feature = "sqlite")]
#[derive(Clone)]
pub(crate) struct SqlitePool {
    pool: Pool<ConnectionManager<diesel::SqliteConnection>>,
    path: String,
    /// Which file it was at first.
    file: FileIdentity,
}

#[cfg(feature = "sqlite")]
impl SqlitePool {
    /// Asks the pool which file it reads, and switches that to write-ahead logging.
    pub(crate) fn new(
        pool: Pool<ConnectionManager<diesel::SqliteConnection>>,
    ) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct Asked {
            #[diesel(sql_type = sql_types::Text)]
            file: String,
            #[diesel(sql_type = sql_types::BigInt)]
            busy_timeout: i64,
        }
        warn_of_patience(&pool);
        let failed = |source| Error::database("cannot read the SQLite file of the pool", source);
        let mut connection = get(&pool, pool.connection_timeout())?;
        let asked: Asked = sql_query(
            "SELECT file, (SELECT timeout FROM pragma_busy_timeout) AS busy_timeout FROM pragma_database_list WHERE name = 'main'",
        )
        .get_result(&mut *connection)
        .map_err(failed)?;
        let file = FileIdentity::of(&asked.file).ok_or_else(|| {
            Error::setting(
                "the SQLite pool has no file: a database in memory exists for a single connection, and keys are read through several",
            )
        })?;
        if asked.busy_timeout == 0 {
            log::warn!(
                "the connections of the SQLite pool have no busy_timeout, so whatever finds the file locked for a moment fails: set one with a \
                 connection_customizer"
            );
        }
        sql_query("PRAGMA journal_mode = WAL")
            .execute(&mut *connection)
            .map_err(failed)?;
        drop(connection);
        Ok(Self {
            pool,
            path: asked.file,
            file,
        })
    }

    pub(super) fn patience(&self) -> Duration {
        self.pool.connection_timeout()
    }

    pub(super) fn idle(&self) -> u32 {
        self.pool.state().idle_connections
    }

    /// Which file it is, as part of a cursor.
    pub(super) fn file(&self) -> FileIdentity {
        self.file
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Nobody can tell which of its connections still have a file open that was replaced, so none is used any more.
    pub(super) fn get(
        &self,
        patience: Duration,
    ) -> Result<Pooled<diesel::SqliteConnection>, Error> {
        let connection = get(&self.pool, patience)?;
        if FileIdentity::of(&self.path) != Some(self.file) {
            return Err(Error::database(
                format!("SQLite file {} was replaced or deleted", self.path),
                "the application's pool may go on reading the old one: start the process anew",
            ));
        }
        Ok(connection)
    }
}

/// Of a pool's connection: its tables were checked.
struct Checked;

pub(super) fn is_checked<C: R2D2Connection + Send + 'static>(connection: &Pooled<C>) -> bool {
    PooledConnection::extensions(connection)
        .get::<Checked>()
        .is_some()
}

pub(super) fn set_checked<C: R2D2Connection + Send + 'static>(connection: &mut Pooled<C>) {
    PooledConnection::extensions_mut(connection).insert(Checked);
}

fn get<C: R2D2Connection + Send + 'static>(
    pool: &Pool<ConnectionManager<C>>,
    patience: Duration,
) -> Result<Pooled<C>, Error> {
    pool.get_timeout(patience).map_err(|error| {
        let message = error.to_string();
        let reason = message.trim_start_matches(WAITED).trim_start_matches(": ");
        let reason = if is_harmless(reason) {
            message
        } else {
            format!("{WAITED} (the reason may quote the password of its URL and is left out)")
        };
        Error::database("the application's pool gave no connection", reason)
    })
}

/// How r2d2's only error begins; why it could not connect may follow.
const WAITED: &str = "timed out waiting for connection";

fn is_harmless(reason: &str) -> bool {
    #[cfg(feature = "postgres")]
    let is_harmless = super::connection::is_about_a_server(reason);
    #[cfg(not(feature = "postgres"))]
    let is_harmless = false;
    is_harmless || reason.is_empty()
}

fn warn_of_patience<C: R2D2Connection + Send + 'static>(pool: &Pool<ConnectionManager<C>>) {
    let patience = pool.connection_timeout();
    if patience > PATIENCE {
        log::warn!(
            "the connection_timeout of the application's pool is {patience:?}: after the database was away, the pool takes up to half of that to \
             try again, and keys cannot be looked up until then. One second or less is advised, or database_url in place of the pool"
        );
    }
}
