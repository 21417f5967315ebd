//! Connections for lookups, for recording usage, and for reading changes over a pool. Each
//! connection is opened or borrowed from a pool, and its tables are checked. A connection to a
//! replaced SQLite file is not used again.

use std::{
    cell::Cell,
    fmt::{self, Display},
    sync::Mutex,
    time::{Duration, Instant},
};

use diesel::QueryResult;

#[cfg(feature = "sqlite")]
use super::connection::downcast;
use super::{
    Connection, Database, Queries, StoreError,
    connection::open_soon,
    schema_check::{check, open_transaction},
};
use crate::{error::Error, lock::lock, log};

/// A connection that took longer than this to open is kept even after the idle timeout. Opening a
/// new connection would probably be slow too, and a lookup that waits for it could time out.
const SLOW_OPENING: Duration = Duration::from_millis(250);

/// A connection whose tables were checked. The check is needed because a restored database may have
/// the tables of another release, or lack the triggers.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// How long opening the connection took.
    took: Duration,
    /// The files that the connection reads. `None` for Postgres and for a pool.
    #[cfg(feature = "sqlite")]
    pub(super) files: Option<super::sqlite::OpenFiles>,
}

impl Opened {
    /// Opens or borrows a connection, checks its tables unless they were checked before, and calls
    /// `run` with the connection. Returns the result together with the connection, which the caller
    /// keeps or drops.
    pub(super) fn run<T, E: From<Error> + Display>(
        database: &Database,
        mut run: impl FnMut(&mut dyn Queries) -> Result<T, E>,
    ) -> Result<(T, Self), E> {
        #[cfg(feature = "sqlite")]
        let named_before = match database {
            Database::Sqlite(path) => super::sqlite::FileIdentity::of(path),
            _ => None,
        };
        // `took` excludes the table check, which is slow while many processes start together.
        let took = Cell::new(Duration::ZERO);
        let open = |database: &Database| {
            let began = Instant::now();
            let opened = open_soon(database);
            took.set(began.elapsed());
            opened
        };
        #[cfg_attr(not(feature = "sqlite"), expect(unused_mut))]
        let (done, mut connection) = over_live(database, open, |connection| {
            refuse_open_transaction(database, connection)?;
            if !connection.is_checked() {
                check(database, connection.queries())?;
                connection.set_checked();
            }
            run(connection.queries())
        })?;
        #[cfg(feature = "sqlite")]
        let files = match (database, downcast(connection.queries())) {
            (Database::Sqlite(path), Some(connection)) => {
                Some(super::sqlite::OpenFiles::new(database, connection, path, named_before)?)
            }
            _ => None,
        };
        let opened = Self {
            connection,
            took: took.get(),
            #[cfg(feature = "sqlite")]
            files,
        };
        Ok((done, opened))
    }

    /// Returns `false` if the connection reads an SQLite file that has been replaced or deleted.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unused_self, reason = "only a file can be replaced")
    )]
    pub(super) fn is_current(&self) -> bool {
        #[cfg(feature = "sqlite")]
        return self.files.as_ref().is_none_or(super::sqlite::OpenFiles::are_current);
        #[cfg(not(feature = "sqlite"))]
        true
    }
}

/// Idle connections for reuse. A connection is removed from the list while it is in use, so that a
/// hung call does not hold the lock.
#[derive(Debug)]
pub(super) struct IdleConnections {
    max: usize,
    /// The time after which an idle connection is closed.
    timeout: Duration,
    idle: Mutex<Vec<Idle>>,
}

/// An idle connection, and the time when it became idle.
#[derive(Debug)]
struct Idle {
    opened: Opened,
    since: Instant,
}

impl IdleConnections {
    pub(super) const fn new(max: usize, timeout: Duration) -> Self {
        Self { max, timeout, idle: Mutex::new(Vec::new()) }
    }

    /// Calls `run` with an idle connection, or with a new connection if none is idle. An idle
    /// connection may be dead or lead to another server. If the call over an idle connection fails,
    /// or `accepts` returns `false` for the result, calls `run` again with a new connection.
    pub(super) fn run<T>(
        &self,
        database: &Database,
        mut run: impl FnMut(&mut dyn Queries) -> QueryResult<T>,
        accepts: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        if let Some(mut idle) = self.take() {
            match run(idle.connection.queries()) {
                Ok(done) if accepts(&done) => {
                    self.put_back(idle);
                    return Ok(done);
                }
                Ok(_) => {
                    log::debug!(
                        "an idle connection to {database} leads to another server; opening a new \
                         one"
                    );
                }
                Err(error) => log::debug!(
                    "an idle connection to {database} failed: {error}; opening a new one"
                ),
            }
        }
        let (done, opened) =
            Opened::run(database, |connection| run(connection).map_err(StoreError::new))?;
        if accepts(&done) {
            self.put_back(opened);
        }
        Ok(done)
    }

    /// Keeps an owned connection for reuse, unless the list is full. A borrowed connection returns
    /// to its pool instead.
    pub(super) fn put_back(&self, opened: Opened) {
        let mut idle = lock(&self.idle);
        if !opened.connection.is_borrowed() && idle.len() < self.max {
            idle.push(Idle { opened, since: Instant::now() });
        }
    }

    /// Closes the connections to a file that was replaced or deleted. Also closes connections that
    /// were idle for so long that a firewall may have dropped them.
    pub(super) fn close_unusable(&self) {
        lock(&self.idle).retain(|idle| {
            idle.opened.is_current()
                && is_kept(idle.opened.took, idle.since.elapsed(), self.timeout)
        });
    }

    pub(super) fn close(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        // The lock is released first, because closing the last connection to an SQLite file may
        // take a while.
        drop(idle);
    }

    fn take(&self) -> Option<Opened> {
        self.close_unusable();
        lock(&self.idle).pop().map(|idle| idle.opened)
    }
}

/// Returns whether an idle connection may be used again.
fn is_kept(opened_in: Duration, idle_for: Duration, timeout: Duration) -> bool {
    idle_for < timeout || opened_in > SLOW_OPENING
}

impl fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Opened(..)")
    }
}

/// Returns an error if a borrowed connection was returned to the pool with an open transaction.
pub(super) fn refuse_open_transaction(
    database: &Database,
    connection: &mut Connection,
) -> Result<(), Error> {
    if connection.is_borrowed() && connection.queries().is_within_transaction() {
        return Err(open_transaction(database));
    }
    Ok(())
}

fn is_unusable(connection: &mut Connection) -> bool {
    connection.queries().is_broken()
        || connection.is_borrowed() && connection.queries().is_within_transaction()
}

/// Opens or borrows a connection and calls `run` with it. If `run` fails because a borrowed
/// connection is unusable, tries again with another connection of the pool. The number of retries
/// is limited to twice the number of idle connections.
pub(super) fn over_live<T, E: From<Error> + Display>(
    database: &Database,
    open: impl Fn(&Database) -> Result<Connection, Error>,
    mut run: impl FnMut(&mut Connection) -> Result<T, E>,
) -> Result<(T, Connection), E> {
    // The pool may lend the same dead connection twice. The first attempt may read only the
    // server's last message, so the connection does not count as broken yet and stays in the pool.
    let mut others = database.idle_in_pool().saturating_mul(2);
    loop {
        let mut connection = open(database)?;
        match run(&mut connection) {
            Ok(done) => return Ok((done, connection)),
            Err(error) if others > 0 && is_unusable(&mut connection) => {
                log::debug!(
                    "a pooled connection to {database} failed: {error}; trying another one"
                );
                others = others.saturating_sub(1);
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // F5
    #[test]
    fn a_connection_that_was_slow_to_open_is_not_closed_when_idle() {
        let (fast, slow) = (Duration::from_millis(5), Duration::from_secs(2));
        let timeout = Duration::from_secs(60);
        assert!(is_kept(fast, timeout / 2, timeout) && !is_kept(fast, timeout, timeout));
        assert!(is_kept(slow, timeout * 60, timeout));
    }
}
