//! What changed, on Postgres: read by snapshots, woken by notifications.

mod listen;
mod read;

use std::{sync::Arc, thread, time::Duration};

use diesel::PgConnection;

pub(crate) use self::listen::Notifications;
use self::{
    listen::Listening,
    read::{Position, read},
};
use crate::{
    error::Error,
    store::{
        Changed, Database, StoreError,
        checked_connection::Opened,
        connection::downcast,
        diesel_feed::ChangeReader,
        postgres::{connect, server::server},
        schema_check::check,
    },
};

/// Reads changes over a connection of its own, which listens for them.
pub(crate) struct Reader {
    database: Database,
    connection: PgConnection,
    /// `None` before the first read.
    position: Option<Position>,
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
        let Database::Postgres(url) = database else {
            return Err(Error::config("this is not a URL of Postgres"));
        };
        let mut connection = connect(database, url)?;
        check(database, &mut connection)?;
        let listening = Listening::start(&mut connection, Arc::clone(notifications));
        Ok(Self { database: database.clone(), connection, position: None, listening })
    }

    /// Refuses where keys are looked up in another database than this one, for their changes would go unnoticed.
    pub(crate) fn require_same(&mut self, keys: &Database) -> Result<(), StoreError> {
        let ours = server(&mut self.connection).map_err(StoreError::new)?;
        let (theirs, _) = Opened::run(keys, |queries| match downcast(queries) {
            Some(connection) => server(connection).map_err(StoreError::new),
            None => Err(StoreError::new("this is not Postgres")),
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
    fn read(&mut self) -> Result<(Option<i64>, Changed), StoreError> {
        let (position, changed) =
            read(&mut self.connection, &self.database, self.position.as_ref())?;
        let server = self.position.insert(position).server();
        Ok((Some(server), changed))
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        self.listening.wait(&mut self.connection, &self.database, at_most)
    }
}

/// Reads changes over connections that are borrowed for a moment each.
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
    fn read(&mut self) -> Result<(Option<i64>, Changed), StoreError> {
        let since = self.position.as_ref();
        let ((position, changed), _) =
            Opened::run(&self.database, |queries| match downcast(queries) {
                Some(connection) => read(connection, &self.database, since),
                None => Err(StoreError::new("this is not a pool of Postgres connections")),
            })?;
        let server = self.position.insert(position).server();
        Ok((Some(server), changed))
    }

    /// A connection that listened would have to be held.
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        thread::sleep(at_most);
        Ok(())
    }
}
