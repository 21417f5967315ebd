//! Administration of the key table. Each call opens or borrows a connection, and checks the tables.

use std::{ops::RangeInclusive, path::Path, sync::Arc, thread, time::Duration};

use chrono::{DateTime, Utc};
use diesel::{QueryResult, result::Error::RollbackTransaction};

#[cfg(feature = "sqlite")]
use super::connection::downcast;
use super::{
    Connection, Database, Queries, TransactionError,
    checked_connection::{over_live, refuse_open_transaction},
    connection::{Recorded, Summary, open, open_soon},
    key_pages::KeyPages,
    schema_check::check,
    slow_call::slow_call,
};
use crate::{
    clock::{Clock, MonotonicTime, to_stored},
    error::Error,
    key::KeyDigest,
    key_event::KeyEvent,
    key_record::{KeyRecord, Updated},
    key_usage::KeyUsage,
    list_keys::ListKeys,
    new_key::IssuedKey,
    prune::{Prune, Pruned},
    rotation::Rotated,
};

/// The time after which the lock holder is determined. This time is shorter than the lock timeout
/// of a change, so that the change is still waiting.
const LOOK_FOR_LOCKS_AFTER: Duration = Duration::from_secs(4);

/// The key table of a database.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(super) database: Database,
    /// The clock that each call sets to the time of the Postgres server.
    clock: Clock,
    /// The actor of the changes, as stated by the program.
    actor: Option<Arc<str>>,
    /// Whether each change is rolled back.
    is_dry_run: bool,
}

/// Each change has its own transaction, and is durable when the call returns. Times come from the
/// clock of the Postgres server, or from the local clock for SQLite.
impl Table {
    pub(crate) const fn new(database: Database, clock: Clock) -> Self {
        Self { database, clock, actor: None, is_dry_run: false }
    }

    /// Sets the actor of the changes.
    pub(crate) fn acting_as(self, actor: &str) -> Self {
        Self { actor: Some(actor.into()), ..self }
    }

    /// Turns on dry-run mode, in which each change is rolled back.
    pub(crate) fn dry_run(self) -> Self {
        Self { is_dry_run: true, ..self }
    }

    pub(crate) const fn is_dry_run(&self) -> bool {
        self.is_dry_run
    }

    pub(crate) fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// Returns the current time, computed from the time that was last read from the database.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn migrate(&self) -> Result<Vec<String>, Error> {
        super::migrate(&self.database)
    }

    /// Makes a new key and inserts its record. Returns the key, and the record that the table
    /// stores.
    pub(crate) fn issue(
        &self,
        make: impl Fn(DateTime<Utc>) -> Result<IssuedKey, Error>,
    ) -> Result<IssuedKey, TransactionError> {
        self.change(None, |queries| {
            let mut issued = make(self.now())?;
            issued.record = queries.issue(&issued.record)?;
            Ok(issued)
        })
    }

    /// Locks a key, and stores the record that `change` returns for the current record.
    pub(crate) fn update(
        &self,
        id: i64,
        change: impl Fn(&KeyRecord, DateTime<Utc>) -> Result<KeyRecord, Error>,
    ) -> Result<Updated, TransactionError> {
        self.change(None, |queries| {
            let before = queries.lock(id)?;
            let after = queries.save(&before, &change(&before, to_stored(self.now()))?)?;
            Ok(Updated { before, after })
        })
    }

    /// Replaces a key with a new key. `replace` returns the new key and the updated record of the
    /// old key, without the new key's id.
    pub(crate) fn rotate(
        &self,
        id: i64,
        replace: impl Fn(&KeyRecord, DateTime<Utc>) -> Result<(IssuedKey, KeyRecord), Error>,
    ) -> Result<Rotated, TransactionError> {
        self.change(None, |queries| {
            let before = queries.lock(id)?;
            let (mut issued, mut old) = replace(&before, to_stored(self.now()))?;
            issued.record = queries.issue(&issued.record)?;
            old.replaced_by = Some(issued.record.id);
            Ok(Rotated { issued, old: queries.save(&before, &old)? })
        })
    }

    /// Copies an SQLite database to a new file.
    pub(crate) fn back_up(&self, to: &Path) -> Result<(), Error> {
        let database = &self.database;
        #[cfg(feature = "sqlite")]
        if let Some(connection) = downcast(self.connect()?.queries()) {
            return super::sqlite::back_up(database, connection, to);
        }
        Err(Error::config(format!(
            "cannot back up {database} to {}: it is not an SQLite file; use pg_dump",
            to.display()
        )))
    }

    /// Returns the error that reports a failed change.
    pub(crate) fn error_of(&self, failed: TransactionError) -> Error {
        failed.into_error(&self.database)
    }

    pub(crate) fn list(&self, wanted: &ListKeys) -> Result<Vec<KeyRecord>, Error> {
        self.read(self.connect()?.queries().list(wanted, self.now()))
    }

    /// Returns the selected keys page by page, over one connection.
    pub(crate) fn pages(&self, wanted: &ListKeys) -> Result<KeyPages, Error> {
        Ok(KeyPages::new(self.clone(), self.connect()?, wanted.clone()))
    }

    pub(crate) fn get(&self, id: i64) -> Result<Option<KeyRecord>, Error> {
        self.read(self.connect()?.queries().get(id))
    }

    /// Returns the keys with these digests. Uses the same query as the lookups of a service.
    pub(crate) fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, Error> {
        self.read(self.connect()?.queries().find(digests)).map(|found| found.rows)
    }

    pub(crate) fn usage(&self, ids: &RangeInclusive<i64>) -> Result<Vec<KeyUsage>, Error> {
        self.read(self.connect()?.queries().usage(ids))
    }

    pub(crate) fn usage_of(&self, id: i64) -> Result<Option<KeyUsage>, Error> {
        self.read(self.connect()?.queries().usage_of(id))
    }

    pub(crate) fn events(&self, key_id: i64, limit: u32) -> Result<Vec<KeyEvent>, Error> {
        self.read(self.connect()?.queries().events(key_id, limit))
    }

    /// Deletes the due keys and events in small transactions. Calls `deleted` with the digests of
    /// each transaction. Skips locked keys and events.
    ///
    /// A dry run only counts the rows.
    pub(crate) fn prune(
        &self,
        wanted: &Prune,
        mut deleted: impl FnMut(Vec<KeyDigest>),
    ) -> Result<Pruned, TransactionError> {
        let mut connection = self.connect()?;
        let due = wanted.due(to_stored(self.now()));
        if self.is_dry_run {
            return Ok(self.read(connection.queries().count_due(&due))?);
        }
        let mut pruned = Pruned::default();
        let (mut after, mut began) = (0, MonotonicTime::now());
        // Pauses for as long as the last transaction took, so that replicas can catch up and other
        // programs can write to an SQLite file.
        let mut pause = || {
            thread::sleep(MonotonicTime::now().since(began));
            began = MonotonicTime::now();
        };
        while due.expired.is_some() || due.revoked.is_some() {
            let keys = self
                .change_over(&mut connection, Some(Summary::Pruned), |queries| {
                    queries.prune_keys(&due, after)
                })
                .map_err(|error| self.stopped(&pruned, error))?;
            let Some((last, _)) = keys.last() else { break };
            after = *last;
            pruned.keys = pruned.keys.saturating_add(keys.len() as u64);
            deleted(keys.into_iter().map(|(_, digest)| digest).collect());
            pause();
        }
        while let Some(until) = due.events {
            let events = self
                .change_over(&mut connection, None, |queries| queries.prune_events(until))
                .map_err(|error| self.stopped(&pruned, error))?;
            if events == 0 {
                break;
            }
            pruned.events = pruned.events.saturating_add(events as u64);
            pause();
        }
        Ok(pruned)
    }

    /// Adds the numbers of rows already deleted to the error of a prune that stopped.
    fn stopped(&self, pruned: &Pruned, error: TransactionError) -> TransactionError {
        match error {
            TransactionError::RolledBack(source) => Error::database(
                format!(
                    "stopped pruning {} after {} keys and {} events; correct the cause and prune \
                     again",
                    self.database, pruned.keys, pruned.events
                ),
                source,
            )
            .into(),
            error => error,
        }
    }

    /// Makes a change in a transaction.
    pub(super) fn change<T>(
        &self,
        summary: Option<Summary>,
        change: impl FnMut(&mut dyn Queries) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        self.change_over(&mut self.connect()?, summary, change)
    }

    /// Makes a change in a transaction of this connection. If the change fails because it waited
    /// too long for a lock, the error names the lock holder.
    fn change_over<T>(
        &self,
        connection: &mut Connection,
        summary: Option<Summary>,
        mut change: impl FnMut(&mut dyn Queries) -> Result<T, TransactionError>,
    ) -> Result<T, TransactionError> {
        let recorded = Recorded { actor: self.actor(), summary };
        let mut done = None;
        let find_holder = || open_soon(&self.database).ok()?.queries().lock_holder().ok()?;
        let (ended, holder) = slow_call(LOOK_FOR_LOCKS_AFTER, find_holder, || {
            connection.queries().write(recorded, &mut |queries| {
                done = Some(change(queries)?);
                if self.is_dry_run { Err(RollbackTransaction.into()) } else { Ok(()) }
            })
        });
        match (ended, done) {
            (Ok(()) | Err(TransactionError::RolledBack(RollbackTransaction)), Some(done)) => {
                Ok(done)
            }
            (Err(error), _) => Err(error.held_up_by(&self.database, holder.flatten())),
            (Ok(()), None) => Err(RollbackTransaction.into()),
        }
    }

    pub(super) fn read<T>(&self, read: QueryResult<T>) -> Result<T, Error> {
        read.map_err(|source| {
            Error::database(format!("cannot read the API keys of {}", self.database), source)
        })
    }

    pub(super) fn connect(&self) -> Result<Connection, Error> {
        let database = &self.database;
        let ((), connection) = over_live(database, open, |connection| {
            refuse_open_transaction(database, connection)?;
            check(database, connection.queries())?;
            self.set_clock(|| self.read(connection.queries().time()))
        })?;
        Ok(connection)
    }

    /// Sets the clock to the time that `read` returns. Does nothing if `read` returns `None`, as
    /// for SQLite.
    pub(crate) fn set_clock(
        &self,
        read: impl FnOnce() -> Result<Option<DateTime<Utc>>, Error>,
    ) -> Result<(), Error> {
        let sent = MonotonicTime::now();
        if let Some(time) = read()? {
            self.clock.observe(sent, time, MonotonicTime::now());
        }
        Ok(())
    }
}
