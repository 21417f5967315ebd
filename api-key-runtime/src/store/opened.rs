//! A connection for look-ups and changes: opened or borrowed, its tables checked, and known to read what its URL still names.

use super::{Connection, Database, StoreError, check};
use crate::Error;

/// A connection whose tables were checked when it was opened: a restored database may be of another release, or without its triggers.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Which files it reads, of an SQLite file.
    #[cfg(feature = "sqlite")]
    pub(super) files: Option<super::sqlite::OpenFiles>,
}

impl Opened {
    pub(super) fn open(database: &Database) -> Result<Self, Error> {
        #[cfg(feature = "sqlite")]
        let named_before = match database {
            Database::Sqlite(path) => super::sqlite::FileIdentity::of(path),
            _ => None,
        };
        let mut connection = Connection::open_soon(database)?;
        if !connection.is_checked() {
            check(database, &mut connection)?;
            connection.set_checked();
        }
        #[cfg(feature = "sqlite")]
        let files = match (&mut connection, database) {
            (Connection::Sqlite(connection), Database::Sqlite(path)) => Some(
                super::sqlite::OpenFiles::new(connection, path, named_before)
                    .map_err(|source| Error::database(format!("cannot read {database}"), source))?,
            ),
            _ => None,
        };
        Ok(Self {
            connection,
            #[cfg(feature = "sqlite")]
            files,
        })
    }

    /// Opens or borrows a connection and runs this over it; over another one where a borrowed one turns out to be dead, as often as there
    /// may be dead ones in the pool. A new one is no reason to try again. It is answered as well, to be kept or dropped.
    pub(super) fn run<T>(
        database: &Database,
        mut run: impl FnMut(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<(T, Self), StoreError> {
        let mut others = database.idle_in_pool();
        loop {
            let mut opened = Self::open(database).map_err(StoreError::new)?;
            match run(&mut opened.connection) {
                Ok(done) => return Ok((done, opened)),
                Err(error) if others > 0 && opened.connection.is_broken() => {
                    log::debug!("a connection of {database} failed: {error}");
                    others = others.saturating_sub(1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it reads what the URL names now: not a file that was replaced or deleted meanwhile.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unused_self, reason = "a server is always itself")
    )]
    pub(super) fn is_current(&self) -> bool {
        #[cfg(feature = "sqlite")]
        return self
            .files
            .as_ref()
            .is_none_or(super::sqlite::OpenFiles::are_current);
        #[cfg(not(feature = "sqlite"))]
        true
    }
}
