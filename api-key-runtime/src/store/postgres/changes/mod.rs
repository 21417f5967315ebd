//! What changed, on Postgres: read by snapshots, woken by notifications.

mod cursor;
mod listen;
mod read;

use std::{
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use diesel::PgConnection;

use self::{
    listen::Listening,
    read::{read, server},
};
use crate::{
    Error,
    store::{
        ChangeCursor, Changes, Connection, Database, StoreError, change_reader::ChangeReader,
        opened::Opened,
    },
};

/// Reads changes over a connection of its own, which listens for them.
pub(crate) struct Reader {
    database: Database,
    connection: Box<PgConnection>,
    is_fresh: bool,
    listening: Listening,
}

impl Reader {
    /// Connects and checks the tables. It listens before anything is read, so that no change falls between the two.
    ///
    /// `is_said` is kept from one reader to the next: that notifications do not arrive is said once.
    pub(crate) fn open(database: &Database, is_said: &Arc<AtomicBool>) -> Result<Self, Error> {
        let Connection::Postgres(mut connection) = Opened::open(database)?.connection else {
            return Err(Error::setting("this is no URL of a Postgres"));
        };
        let listening = Listening::start(&mut connection, Arc::clone(is_said));
        Ok(Self {
            database: database.clone(),
            connection,
            is_fresh: true,
            listening,
        })
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
        let since = since.filter(|_| !self.is_fresh);
        let changes = read(&mut self.connection, &self.database, since)?;
        self.is_fresh = false;
        Ok(changes)
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        self.listening
            .wait(&mut self.connection, &self.database, at_most)
    }
}

/// Reads changes over connections that are borrowed for a moment each.
pub(crate) struct PooledReader {
    database: Database,
    is_fresh: bool,
}

impl PooledReader {
    pub(crate) fn new(database: &Database) -> Self {
        Self {
            database: database.clone(),
            is_fresh: true,
        }
    }
}

impl ChangeReader for PooledReader {
    fn read(&mut self, since: Option<&ChangeCursor>) -> Result<Changes, StoreError> {
        let since = since.filter(|_| !self.is_fresh);
        let (changes, _) = Opened::run(&self.database, |connection| match connection {
            Connection::PooledPostgres(connection) => read(connection, &self.database, since),
            _ => Err(StoreError::new("this is no pool of Postgres")),
        })?;
        self.is_fresh = false;
        Ok(changes)
    }

    /// A connection that listened would have to be held.
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        thread::sleep(at_most);
        Ok(())
    }
}
