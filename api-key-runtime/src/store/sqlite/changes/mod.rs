//! The change feed on SQLite. A reader finds changes by the row numbers of the change log.

mod read;

use std::{
    thread,
    time::{Duration, Instant},
};

use diesel::{
    QueryResult, RunQueryDsl as _, SqliteConnection, prelude::QueryableByName, sql_query,
    sql_types::BigInt,
};

use self::read::{Position, read};
use crate::{
    error::Error,
    store::{
        Changes, Database, StoreError,
        checked_connection::Opened,
        connection::{Missing, downcast},
        diesel_feed::ChangeReader,
        schema_check::check,
        sqlite::{FileIdentity, OpenFiles, connect},
    },
};

/// How often the file is checked for writes, because SQLite does not notify readers.
const POLL_INTERVAL: Duration = Duration::from_millis(30);

/// A reader of changes with its own connection.
pub(crate) struct Reader {
    database: Database,
    connection: SqliteConnection,
    files: OpenFiles,
    /// `None` before the first read.
    position: Option<Position>,
    /// The `data_version` before the last read. SQLite changes the `data_version` when another
    /// connection commits.
    data_version: i64,
}

impl Reader {
    /// Opens the file and checks the tables.
    pub(crate) fn open(database: &Database) -> Result<Self, Error> {
        let Database::Sqlite(path) = database else {
            return Err(Error::config("this is not an SQLite file"));
        };
        let named_before = FileIdentity::of(path);
        let mut connection = connect(database, path, Missing::Refuse)?;
        check(database, &mut connection)?;
        let files = OpenFiles::new(database, &mut connection, path, named_before)?;
        Ok(Self { database: database.clone(), connection, files, position: None, data_version: 0 })
    }
}

impl ChangeReader for Reader {
    fn is_current(&self) -> bool {
        self.files.are_current()
    }

    fn read(&mut self) -> Result<(Option<i64>, Changes), StoreError> {
        // `data_version` is read before the changes. So a later write is found either by this read
        // or by the next wait.
        self.data_version = data_version(&mut self.connection).map_err(StoreError::new)?;
        let (position, changed) =
            read(&mut self.connection, &self.database, &self.files, self.position.as_ref())?;
        self.position = Some(position);
        Ok((None, Changes::new(changed)))
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        let until = Instant::now() + at_most;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(POLL_INTERVAL.min(left));
            if left <= POLL_INTERVAL
                || !self.files.are_current()
                || data_version(&mut self.connection).map_err(StoreError::new)? != self.data_version
            {
                return Ok(());
            }
        }
    }
}

/// A reader of changes that borrows a connection from the pool for each read.
pub(crate) struct PooledReader {
    database: Database,
    /// `None` before the first read.
    position: Option<Position>,
}

impl PooledReader {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone(), position: None }
    }
}

impl ChangeReader for PooledReader {
    fn read(&mut self) -> Result<(Option<i64>, Changes), StoreError> {
        let (database, since) = (&self.database, self.position.as_ref());
        let ((position, changed), _) =
            Opened::run(database, |queries| match (downcast(queries), database) {
                (Some(connection), Database::SqlitePool(pool)) => {
                    read(connection, database, pool.files(), since)
                }
                _ => Err(StoreError::new("this is not a pool of SQLite connections")),
            })?;
        self.position = Some(position);
        Ok((None, Changes::new(changed)))
    }

    /// Sleeps. `data_version` cannot be compared between connections, and the pool may lend another
    /// connection next time.
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        thread::sleep(at_most);
        Ok(())
    }
}

/// Returns a number that changes when another connection commits, in this process or in another
/// process.
fn data_version(connection: &mut SqliteConnection) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = BigInt)]
        data_version: i64,
    }
    let version: Version = sql_query("PRAGMA data_version").get_result(connection)?;
    Ok(version.data_version)
}
