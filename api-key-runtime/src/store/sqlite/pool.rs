//! The application's own pool of connections to an SQLite file.

use std::time::Duration;

use diesel::{
    RunQueryDsl as _, SqliteConnection,
    prelude::QueryableByName,
    r2d2::{ConnectionManager, Pool},
    sql_query, sql_types,
};

use super::FileIdentity;
use crate::{
    error::Error,
    log,
    store::pool::{Pooled, get, warn_of_long_timeout},
};

/// A pool of connections to an SQLite file.
#[derive(Clone)]
pub(crate) struct SqlitePool {
    pool: Pool<ConnectionManager<SqliteConnection>>,
    path: String,
    /// Which file it was at first.
    file: FileIdentity,
}

impl SqlitePool {
    /// Asks the pool which file it reads, and switches that to write-ahead logging.
    pub(crate) fn new(pool: Pool<ConnectionManager<SqliteConnection>>) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct Asked {
            #[diesel(sql_type = sql_types::Text)]
            file: String,
            #[diesel(sql_type = sql_types::BigInt)]
            busy_timeout: i64,
        }
        warn_of_long_timeout(&pool);
        let failed = |source| Error::database("cannot read the SQLite file of the pool", source);
        let mut connection = get(&pool, pool.connection_timeout())?;
        let asked: Asked = sql_query(
            "SELECT file, (SELECT timeout FROM pragma_busy_timeout) AS busy_timeout FROM pragma_database_list WHERE name = 'main'",
        )
        .get_result(&mut *connection)
        .map_err(failed)?;
        let file = FileIdentity::of(&asked.file).ok_or_else(|| {
            Error::config(
                "the SQLite pool has no file: a database in memory exists for a single connection, and keys are read through several",
            )
        })?;
        if asked.busy_timeout == 0 {
            log::warn!(
                "the connections of the SQLite pool have no busy_timeout, so whatever finds the file locked for a moment fails: set one with a \
                 connection_customizer"
            );
        }
        sql_query("PRAGMA journal_mode = WAL").execute(&mut *connection).map_err(failed)?;
        drop(connection);
        Ok(Self { pool, path: asked.file, file })
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.pool.connection_timeout()
    }

    pub(crate) fn idle(&self) -> u32 {
        self.pool.state().idle_connections
    }

    /// Which file it is, as part of a position in the change log.
    pub(crate) fn file(&self) -> FileIdentity {
        self.file
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Nobody can tell which of its connections still have a file open that was replaced, so none is used any more.
    pub(crate) fn get(&self, timeout: Duration) -> Result<Pooled<SqliteConnection>, Error> {
        let connection = get(&self.pool, timeout)?;
        if FileIdentity::of(&self.path) != Some(self.file) {
            return Err(Error::database(
                format!("SQLite file {} was replaced or deleted", self.path),
                "the application's pool may go on reading the old one: start the process anew",
            ));
        }
        Ok(connection)
    }
}
