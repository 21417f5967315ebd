//! What changed, on Postgres: read by snapshots, woken by notifications.

mod cursor;
mod listen;
mod read;

use std::{sync::Arc, thread, time::Duration};

use diesel::PgConnection;

pub(crate) use self::listen::Notifications;
use self::{listen::Listening, read::read};
use crate::{
    Error,
    store::{
        ChangeCursor, Changes, Connection, Database, StoreError, change_reader::ChangeReader,
        checked_connection::Opened, postgres::server::server,
    },
};

/// Reads changes over a connection of its own, which listens for them.
pub(crate) struct Reader {
    database: Database,
    connection: Box<PgConnection>,
    /// None before the first read.
    server: Option<i64>,
    listening: Listening,
}

impl Reader {
    /// Connects and checks the tables. It listens before anything is read, so that no change falls between the two.
    ///
    /// What is known of notifications is kept from one reader to the next.
    pub(crate) fn open(
        database: &Database,
        notifications: &Arc<Notifications>,
    ) -> Result<Self, Error> {
        let Connection::Postgres(mut connection) = Opened::open(database)?.connection else {
            return Err(Error::config("this is no URL of a Postgres"));
        };
        let listening = Listening::start(&mut connection, Arc::clone(notifications));
        Ok(Self { database: database.clone(), connection, server: None, listening })
    }

    /// Refuses where keys are looked up in another database than this one, for their changes would go unnoticed.
    pub(crate) fn require_same(&mut self, keys: &Database) -> Result<(), StoreError> {
        let ours = server(&mut self.connection).map_err(StoreError::new)?;
        let (theirs, _) = Opened::run(keys, |connection| {
            match connection {
                Connection::Postgres(connection) => server(connection),
                Connection::PooledPostgres(connection) => server(connection),
                #[cfg(feature = "sqlite")]
                _ => return Err(StoreError::new("this is no Postgres")),
            }
            .map_err(StoreError::new)
        })?;
        if ours == theirs {
            return Ok(());
        }
        Err(StoreError::new(format!(
            "listen_url names another database or other tables ({}) than keys are looked up in ({keys}), so revocations would go unnoticed",
            self.database
        )))
    }
}

impl ChangeReader for Reader {
    fn read(&mut self, since: Option<&ChangeCursor>) -> Result<Changes, StoreError> {
        // A new connection may lead to another server than the cursor is of.
        let since = since.filter(|_| self.server.is_some());
        let (server, changes) = read(&mut self.connection, &self.database, since)?;
        self.server = Some(server);
        Ok(changes)
    }

    fn server(&self) -> Option<i64> {
        self.server
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        self.listening.wait(&mut self.connection, &self.database, at_most)
    }
}

/// Reads changes over connections that are borrowed for a moment each.
pub(crate) struct PooledReader {
    database: Database,
    /// None before the first read.
    server: Option<i64>,
}

impl PooledReader {
    pub(crate) fn new(database: &Database) -> Self {
        Self { database: database.clone(), server: None }
    }
}

impl ChangeReader for PooledReader {
    fn read(&mut self, since: Option<&ChangeCursor>) -> Result<Changes, StoreError> {
        let since = since.filter(|_| self.server.is_some());
        let ((server, changes), _) = Opened::run(&self.database, |connection| match connection {
            Connection::PooledPostgres(connection) => read(connection, &self.database, since),
            _ => Err(StoreError::new("this is no pool of Postgres")),
        })?;
        self.server = Some(server);
        Ok(changes)
    }

    fn server(&self) -> Option<i64> {
        self.server
    }

    /// A connection that listened would have to be held.
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        thread::sleep(at_most);
        Ok(())
    }
}
