//! The application's own pool of connections to an SQLite file.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use diesel::{
    RunQueryDsl as _, SqliteConnection,
    prelude::QueryableByName,
    r2d2::{ConnectionManager, Pool},
    sql_query, sql_types,
};

use super::{FileIdentity, OpenFiles, connect};
use crate::{
    error::Error,
    log,
    store::{
        Database,
        connection::Missing,
        pool::{Pooled, get, warn_of_long_timeout},
    },
};

/// A pool of connections to an SQLite file.
#[derive(Clone)]
pub(crate) struct SqlitePool {
    pool: Pool<ConnectionManager<SqliteConnection>>,
    path: String,
    /// Keeps open the files that the pool had open when the application passed in the pool.
    guard: Arc<Guard>,
}

/// An unused connection beside the pool. While this connection is open, SQLite keeps the log. If
/// the log is replaced anyway, the pool's connections may use another log than other programs.
struct Guard {
    files: OpenFiles,
    _connection: Mutex<SqliteConnection>,
}

impl SqlitePool {
    /// Determines the file that the pool reads, and switches this file to write-ahead logging.
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
        let named_before = FileIdentity::of(&asked.file).ok_or_else(|| {
            Error::config(
                "the SQLite pool has no file: a database in memory exists only for one connection, \
                 and keys are read over several connections; use a pool of connections to a file",
            )
        })?;
        if asked.busy_timeout == 0 {
            log::warn!(
                "the connections of the SQLite pool have no busy_timeout, so a statement fails if \
                 the file is locked for a moment: set busy_timeout with a connection_customizer"
            );
        }
        sql_query("PRAGMA journal_mode = WAL").execute(&mut *connection).map_err(failed)?;
        drop(connection);
        let guard = Arc::new(Guard::open(&asked.file, named_before)?);
        Ok(Self { pool, path: asked.file, guard })
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.pool.connection_timeout()
    }

    pub(crate) fn idle(&self) -> u32 {
        self.pool.state().idle_connections
    }

    /// Returns the files of the pool, as part of a position in the change log.
    pub(crate) fn files(&self) -> &OpenFiles {
        &self.guard.files
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Borrows a connection. Fails if the file was replaced or deleted, because any connection of
    /// the pool may still have the old file open.
    ///
    /// Fails with another message if the log was replaced but the file was not. Another program may
    /// have written to the new log, so that log must not be removed.
    pub(crate) fn get(&self, timeout: Duration) -> Result<Pooled<SqliteConnection>, Error> {
        let connection = get(&self.pool, timeout)?;
        let files = &self.guard.files;
        if !files.has_database() {
            return Err(Error::database(
                format!("SQLite file {} was replaced or deleted", self.path),
                "the application's pool may still read the old file. Stop every program that uses \
                 the file, remove the -wal and -shm files beside it, and start again",
            ));
        }
        if !files.are_current() {
            return Err(Error::database(
                format!(
                    "the log of SQLite file {} was replaced or deleted while it was in use",
                    self.path
                ),
                "the application's pool may still read the old log. Restart this process, and read \
                 or copy the file within the process only through SQLite",
            ));
        }
        Ok(connection)
    }
}

impl Guard {
    fn open(path: &str, named_before: FileIdentity) -> Result<Self, Error> {
        let database = Database::Sqlite(path.to_owned());
        let mut connection = connect(&database, path, Missing::Refuse)?;
        // SQLite opens the log at the first read.
        sql_query("SELECT count(*) FROM sqlite_master")
            .execute(&mut connection)
            .map_err(|source| Error::database(format!("cannot read {database}"), source))?;
        let files = OpenFiles::new(&database, &mut connection, path, Some(named_before))?;
        Ok(Self { files, _connection: Mutex::new(connection) })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guard").field("files", &self.files).finish_non_exhaustive()
    }
}
