//! Administration of keys: the API that the `app-key` command is a thin shell over. Knows nothing of HTTP.

use std::sync::Arc;

use crate::{
    Error, IssuedKey, KeyRecord, KeyUsage, NewKey,
    cache::Cache,
    clock::{Clock, MonotonicTime, to_stored},
    key::{Digester, KeyForm},
    store::{Changed, Database, KeyConnection, Table, TransactionError},
};

/// Issues, lists and changes the keys of a database.
///
/// Every change is a transaction of its own over a connection of its own, durable before it returns. All of it blocks: within a
/// request, call it through [`actix_web::web::block`].
#[derive(Clone, Debug)]
pub struct Admin {
    table: Table,
    form: KeyForm,
    digester: Digester,
    clock: Clock,
    /// What the same process knows of keys, if it serves any.
    cache: Option<Arc<Cache>>,
}

impl Admin {
    pub(crate) fn new(database: Database, form: KeyForm, digester: Digester, clock: Clock) -> Self {
        Self { table: Table::new(database), form, digester, clock, cache: None }
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
        self.table.migrate()
    }

    /// Issues a key.
    ///
    /// # Errors
    /// When what is asked for is unusable, the operating system gives no entropy, the table's keys are under another pepper, or the
    /// database fails. No key exists then.
    pub fn issue(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        let mut issued = new.make(&self.form, &self.digester, self.clock.now())?;
        issued.record = self.done(self.table.issue(&issued.record))?;
        Ok(issued)
    }

    /// Issues a key within a transaction of yours: one for a new user, so that neither is there without the other.
    ///
    /// It is there when you commit, and this process and all others learn of it then, as of any change. It is not checked that the
    /// connection leads to the same database as this. After an error roll back; on SQLite begin with `immediate_transaction`, because a
    /// transaction that turns into a write later fails where another one writes.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use api_key_runtime::{AppKeys, NewKey};
    /// use diesel::{RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _, prelude::*};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("issue-within-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
    /// # AppKeys::migrate(&url)?;
    /// let admin = AppKeys::builder().database_url(&url).build_admin()?;
    /// let mut connection = SqliteConnection::establish(&url)?;
    /// # connection.batch_execute("CREATE TABLE users (name TEXT NOT NULL PRIMARY KEY)")?;
    /// let key = connection.immediate_transaction(|connection| {
    ///     diesel::sql_query("INSERT INTO users (name) VALUES ('ada')").execute(connection)?;
    ///     let new = NewKey::new("first key", "0.0.0.0".parse()?).owner("ada");
    ///     let issued = admin.issue_in_transaction(connection, &new)?;
    ///     Ok::<_, Box<dyn std::error::Error>>(issued.secret)
    /// })?;
    /// # assert_eq!(admin.list()?.len(), 1);
    /// # drop(key);
    /// # drop(connection);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`issue`](Self::issue).
    pub fn issue_in_transaction(
        &self,
        connection: &mut impl KeyConnection,
        new: &NewKey,
    ) -> Result<IssuedKey, Error> {
        let mut issued = new.make(&self.form, &self.digester, self.clock.now())?;
        issued.record = connection.issue_in_transaction(&issued.record)?;
        Ok(issued)
    }

    /// Every key there is or was, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list(&self) -> Result<Vec<KeyRecord>, Error> {
        self.table.list()
    }

    /// One key.
    ///
    /// # Errors
    /// When there is no such key or the database fails.
    pub fn get(&self, id: i64) -> Result<KeyRecord, Error> {
        self.table.get(id)?.ok_or_else(|| Error::not_found(id))
    }

    /// How the keys were used, by id: of each that ever was when and from where the last time, and how often.
    ///
    /// Services record uses every few seconds; see [`AppKeysBuilder::usage_flush_interval`](crate::AppKeysBuilder::usage_flush_interval).
    ///
    /// # Errors
    /// When the database fails.
    pub fn usage(&self) -> Result<Vec<KeyUsage>, Error> {
        self.table.usage()
    }

    /// How one key was used; `None` where it never was, or is not there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn usage_of(&self, id: i64) -> Result<Option<KeyUsage>, Error> {
        self.table.usage_of(id)
    }

    /// Revokes a key for good. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// When there is no such key or the database fails.
    pub fn revoke(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.revoke(id, to_stored(self.clock.now())))
    }

    /// Switches a key off until it is enabled again. One that is disabled already stays as it is.
    ///
    /// # Errors
    /// When there is no such key, it is revoked, or the database fails.
    pub fn disable(&self, id: i64) -> Result<KeyRecord, Error> {
        let now = to_stored(self.clock.now());
        self.done(self.table.set_disabled(id, Some(now)))
    }

    /// Switches a disabled key on again.
    ///
    /// # Errors
    /// When there is no such key, it is revoked, or the database fails.
    pub fn enable(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.set_disabled(id, None))
    }

    /// Applies a change to this process's cache before its caller learns that it is done.
    fn done(&self, done: Result<KeyRecord, TransactionError>) -> Result<KeyRecord, Error> {
        if let Some(cache) = &self.cache {
            match &done {
                Ok(record) => cache.changed(record, MonotonicTime::now()),
                Err(error) if error.maybe_committed() => cache.apply(&Changed::Everything),
                Err(_) => {}
            }
        }
        done.map_err(|error| self.table.error_of(error))
    }
}
