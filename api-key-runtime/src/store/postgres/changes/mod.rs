//! What changed, on Postgres: read by snapshots, woken by notifications.

mod cursor;
mod listen;
mod read;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use diesel::PgConnection;

use self::{listen::Listening, read::read};
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
        let Opened { connection, .. } = Opened::open(database)?;
        let mut connection = match connection {
            Connection::Postgres(connection) => connection,
            #[cfg(feature = "sqlite")]
            Connection::Sqlite(_) => return Err(Error::setting("this is no Postgres")),
        };
        let listening = Listening::start(&mut connection, Arc::clone(is_said));
        Ok(Self {
            database: database.clone(),
            connection,
            is_fresh: true,
            listening,
        })
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
