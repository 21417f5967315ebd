//! Administration of keys: the API that the `app-key` command is a thin shell over. Knows nothing of HTTP.

use std::sync::Arc;

use crate::{
    Error, IssuedKey, KeyRecord, KeyUse, NewKey,
    cache::Cache,
    clock::{Clock, Moment, to_stored},
    key::{Digester, KeyForm},
    store::{Aborted, Changed, Connection, Database, aborted, check, on_either},
};

/// Issues, lists and changes the keys of a database.
///
/// Every change is a transaction of its own over a connection of its own, durable before it returns. All of it blocks: within a
/// request, call it through [`actix_web::web::block`].
#[derive(Clone, Debug)]
pub struct Admin {
    database: Database,
    form: KeyForm,
    digester: Digester,
    clock: Clock,
    /// What the same process knows of keys, if it serves any.
    cache: Option<Arc<Cache>>,
}

impl Admin {
    pub(crate) fn new(database: Database, form: KeyForm, digester: Digester, clock: Clock) -> Self {
        Self {
            database,
            form,
            digester,
            clock,
            cache: None,
        }
    }

    /// Has this process forget at once what it changes here.
    pub(crate) fn forgetting_in(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Brings the tables to the newest version; see [`AppKeys::migrate`](crate::AppKeys::migrate).
    ///
    /// # Errors
    /// When the database is away or a migration fails; nothing is changed then.
    pub fn migrate(&self) -> Result<Vec<String>, Error> {
        crate::store::migrate(&self.database)
    }

    /// Issues a key.
    ///
    /// # Errors
    /// When what is asked for is unusable, the operating system gives no entropy, the table's keys are under another pepper, or the
    /// database fails. No key exists then.
    pub fn issue(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        let mut issued = new.make(&self.form, &self.digester, self.clock.now())?;
        let mut connection = self.connect()?;
        let done = on_either!(&mut connection, queries::issue(&issued.record));
        issued.record = self.done(done)?;
        Ok(issued)
    }

    /// Every key there is or was, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list(&self) -> Result<Vec<KeyRecord>, Error> {
        let mut connection = self.connect()?;
        on_either!(&mut connection, queries::list()).map_err(|source| self.unreadable(source))
    }

    /// One key.
    ///
    /// # Errors
    /// When there is no such key or the database fails.
    pub fn get(&self, id: i64) -> Result<KeyRecord, Error> {
        let mut connection = self.connect()?;
        on_either!(&mut connection, queries::get(id))
            .map_err(|source| self.unreadable(source))?
            .ok_or_else(|| Error::not_found(id))
    }

    /// How the keys were used, by id: of each that ever was when and from where the last time, and how often.
    ///
    /// Services record uses every few seconds; see [`AppKeysBuilder::usage_interval`](crate::AppKeysBuilder::usage_interval).
    ///
    /// # Errors
    /// When the database fails.
    pub fn usage(&self) -> Result<Vec<KeyUse>, Error> {
        let mut connection = self.connect()?;
        on_either!(&mut connection, queries::usage()).map_err(|source| self.unreadable(source))
    }

    /// How one key was used; `None` where it never was, or is not there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn usage_of(&self, id: i64) -> Result<Option<KeyUse>, Error> {
        let mut connection = self.connect()?;
        on_either!(&mut connection, queries::usage_of(id)).map_err(|source| self.unreadable(source))
    }

    /// Revokes a key for good. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// When there is no such key or the database fails.
    pub fn revoke(&self, id: i64) -> Result<KeyRecord, Error> {
        let now = to_stored(self.clock.now());
        let mut connection = self.connect()?;
        let done = on_either!(&mut connection, queries::revoke(id, now));
        self.done(done)
    }

    /// Switches a key off until it is enabled again. One that is disabled already stays as it is.
    ///
    /// # Errors
    /// When there is no such key, it is revoked, or the database fails.
    pub fn disable(&self, id: i64) -> Result<KeyRecord, Error> {
        let now = to_stored(self.clock.now());
        let mut connection = self.connect()?;
        let done = on_either!(&mut connection, queries::set_disabled(id, Some(now)));
        self.done(done)
    }

    /// Switches a disabled key on again.
    ///
    /// # Errors
    /// When there is no such key, it is revoked, or the database fails.
    pub fn enable(&self, id: i64) -> Result<KeyRecord, Error> {
        let mut connection = self.connect()?;
        let done = on_either!(&mut connection, queries::set_disabled(id, None));
        self.done(done)
    }

    fn connect(&self) -> Result<Connection, Error> {
        let mut connection = Connection::open(&self.database)?;
        check(&self.database, &mut connection)?;
        Ok(connection)
    }

    /// Has this process forget the key, before whoever changed it is told that it is done.
    fn done(&self, done: Result<KeyRecord, Aborted>) -> Result<KeyRecord, Error> {
        if let Some(cache) = &self.cache {
            match &done {
                Ok(record) => cache.changed(record, Moment::now()),
                Err(Aborted::Refused(_)) => {}
                // It may have been done all the same, and the answer lost.
                Err(Aborted::Database(_) | Aborted::Unknown(_)) => {
                    cache.apply(&Changed::Everything)
                }
            }
        }
        done.map_err(|source| aborted(&self.database, source))
    }

    fn unreadable(&self, source: diesel::result::Error) -> Error {
        Error::database(format!("cannot read the keys of {}", self.database), source)
    }
}
