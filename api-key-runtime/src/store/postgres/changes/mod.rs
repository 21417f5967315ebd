//! The change feed on Postgres. Changes are read by snapshot, and notifications wake the reader.

mod listen;
mod prune;
mod read;

use std::{sync::Arc, thread, time::Duration};

use diesel::PgConnection;

pub(crate) use self::listen::Notifications;
use self::{
    listen::Listening,
    prune::Pruning,
    read::{Position, read},
};
use crate::{
    error::Error,
    store::{
        Changes, Database, StoreError,
        checked_connection::Opened,
        connection::downcast,
        diesel_feed::ChangeReader,
        postgres::{connect, schema_of_tables, server::server},
        schema_check::check,
    },
};

/// A reader of changes with its own connection. The connection is used for reading changes and for
/// listening.
pub(crate) struct Reader {
    database: Database,
    connection: PgConnection,
    /// The quoted name of the schema that contains the tables.
    schema: String,
    /// `None` before the first read.
    position: Option<Position>,
    pruning: Pruning,
    listening: Listening,
}

impl Reader {
    /// Connects and checks the tables. Listening starts before the first read, so that each change
    /// after this read wakes the reader.
    ///
    /// Successive readers share the state in `notifications`.
    pub(crate) fn open(
        database: &Database,
        notifications: &Arc<Notifications>,
    ) -> Result<Self, Error> {
        let Database::Postgres(url) = database else {
            return Err(Error::config("the change feed needs a Postgres URL"));
        };
        let mut connection = connect(database, url)?;
        let schema = schema_of_tables(&mut connection, database)?;
        check(database, &mut connection)?;
        let listening = Listening::start(&mut connection, Arc::clone(notifications));
        let pruning = Pruning::default();
        Ok(Self {
            database: database.clone(),
            connection,
            schema,
            position: None,
            pruning,
            listening,
        })
    }

    /// Returns an error if keys are looked up in a database other than this reader's database,
    /// because changes to these keys would be missed.
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
            "listen_url leads to another database or other tables ({}) than key lookups use \
             ({keys}), so revocations would be missed: set listen_url to a direct connection to \
             the same database",
            self.database
        )))
    }
}

impl ChangeReader for Reader {
    fn read(&mut self) -> Result<(Option<i64>, Changes), StoreError> {
        let (position, changed) =
            read(&mut self.connection, &self.database, &self.schema, self.position.as_ref())?;
        let position = self.position.insert(position);
        Ok((Some(position.server()), position.changes(changed)))
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        self.pruning.run_if_due(&mut self.connection, &self.schema);
        self.listening.wait(&mut self.connection, &self.database, at_most)
    }
}

/// A reader of changes that borrows a connection from the pool for each read.
pub(crate) struct PooledReader {
    database: Database,
    /// The quoted name of the schema, as in [`Reader`]. If another connection of the pool has
    /// another search path, lookups detect the difference.
    schema: Option<String>,
    /// `None` before the first read.
    position: Option<Position>,
    pruning: Pruning,
}

impl PooledReader {
    pub(crate) fn new(database: &Database) -> Self {
        let (database, pruning) = (database.clone(), Pruning::default());
        Self { database, schema: None, position: None, pruning }
    }
}

impl ChangeReader for PooledReader {
    fn read(&mut self) -> Result<(Option<i64>, Changes), StoreError> {
        let Self { database, schema, position: since, pruning } = self;
        let ((position, changed), _) = Opened::run(database, |queries| match downcast(queries) {
            Some(connection) => {
                let schema = match schema {
                    Some(known) => &*known,
                    None => schema.insert(schema_of_tables(connection, database)?),
                };
                let read = read(connection, database, schema, since.as_ref())?;
                pruning.run_if_due(connection, schema);
                Ok(read)
            }
            None => Err(StoreError::new("this is not a pool of Postgres connections")),
        })?;
        let position = self.position.insert(position);
        Ok((Some(position.server()), position.changes(changed)))
    }

    /// Sleeps, because listening would require holding a connection of the pool.
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        thread::sleep(at_most);
        Ok(())
    }
}
