//! A connection for look-ups and changes: opened or borrowed, its tables checked, and known to read what its URL still names.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use super::{Connection, Database, schema_check::check};
use crate::Error;

/// Shorter than the idle time after which firewalls and balancers forget a connection without a word.
const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

/// A connection whose tables were checked when it was opened: a restored database may be of another release, or without its triggers.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Which files it reads, of an SQLite file.
    #[cfg(feature = "sqlite")]
    pub(super) files: Option<super::sqlite::OpenFiles>,
}

/// A connection that was used before, and when.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) opened: Opened,
    since: Instant,
}

impl Opened {
    pub(super) fn open(database: &Database) -> Result<Self, Error> {
        Self::run(database, |_| Ok(())).map(|((), opened)| opened)
    }

    /// Opens or borrows a connection, checks its tables unless that was done before, and runs this over it. The connection is answered
    /// as well, to be kept or dropped.
    pub(super) fn run<T, E: From<Error> + Display>(
        database: &Database,
        mut run: impl FnMut(&mut Connection) -> Result<T, E>,
    ) -> Result<(T, Self), E> {
        #[cfg(feature = "sqlite")]
        let named_before = match database {
            Database::Sqlite(path) => super::sqlite::FileIdentity::of(path),
            _ => None,
        };
        #[cfg_attr(not(feature = "sqlite"), expect(unused_mut))]
        let (done, mut connection) = over_live(database, Connection::open_soon, |connection| {
            if !connection.is_checked() {
                check(database, connection)?;
                connection.set_checked();
            }
            run(connection)
        })?;
        #[cfg(feature = "sqlite")]
        let files = match (&mut connection, database) {
            (Connection::Sqlite(connection), Database::Sqlite(path)) => Some(
                super::sqlite::OpenFiles::new(connection, path, named_before)
                    .map_err(|source| Error::database(format!("cannot read {database}"), source))?,
            ),
            _ => None,
        };
        let opened = Self {
            connection,
            #[cfg(feature = "sqlite")]
            files,
        };
        Ok((done, opened))
    }

    /// Whether it reads what the URL names now: not a file that was replaced or deleted meanwhile.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unused_self, reason = "a server is always itself")
    )]
    pub(super) fn is_current(&self) -> bool {
        #[cfg(feature = "sqlite")]
        return self.files.as_ref().is_none_or(super::sqlite::OpenFiles::are_current);
        #[cfg(not(feature = "sqlite"))]
        true
    }
}

impl Idle {
    pub(super) fn now(opened: Opened) -> Self {
        Self { opened, since: Instant::now() }
    }

    /// The connection, if it reads what its URL names now and no firewall can have forgotten it.
    pub(super) fn usable(self) -> Option<Opened> {
        self.is_usable().then_some(self.opened)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.opened.is_current() && self.since.elapsed() < MAX_IDLE_TIME
    }
}

/// Opens a connection and runs this over it; over another one where a borrowed one turns out to be dead, as often as there may be dead
/// ones in the pool. Of a new one, that would be no reason to try again.
pub(super) fn over_live<T, E: From<Error> + Display>(
    database: &Database,
    open: impl Fn(&Database) -> Result<Connection, Error>,
    mut run: impl FnMut(&mut Connection) -> Result<T, E>,
) -> Result<(T, Connection), E> {
    let mut others = database.idle_in_pool();
    loop {
        let mut connection = open(database)?;
        match run(&mut connection) {
            Ok(done) => return Ok((done, connection)),
            Err(error) if others > 0 && connection.is_broken() => {
                log::debug!("a connection of {database} failed: {error}");
                others = others.saturating_sub(1);
            }
            Err(error) => return Err(error),
        }
    }
}
