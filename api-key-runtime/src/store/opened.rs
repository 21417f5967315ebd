//! A connection of the store's own: opened, checked, and known to read what its URL still names.

use super::{Connection, Database, check};
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
            #[cfg(feature = "postgres")]
            Database::Postgres(_) => None,
        };
        let mut connection = Connection::open(database)?;
        check(database, &mut connection)?;
        #[cfg(feature = "sqlite")]
        let files = match (&mut connection, database) {
            (Connection::Sqlite(connection), Database::Sqlite(path)) => Some(
                super::sqlite::OpenFiles::new(connection, path, named_before)
                    .map_err(|source| Error::database(format!("cannot read {database}"), source))?,
            ),
            #[cfg(feature = "postgres")]
            _ => None,
        };
        Ok(Self {
            connection,
            #[cfg(feature = "sqlite")]
            files,
        })
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
