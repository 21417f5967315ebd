//! Administration of keys: the API that the `app-key` command is a thin shell over. Knows nothing
//! of HTTP.

use std::{
    ops::{Bound, RangeBounds},
    path::Path,
    sync::Arc,
};

use chrono::{DateTime, Utc};

use crate::{
    cache::{Cache, process},
    clock::{Clock, MonotonicTime},
    error::Error,
    key::{Digester, FormatRules, KeyDigest},
    key_record::KeyRecord,
    key_usage::KeyUsage,
    list_keys::ListKeys,
    new_key::{IssuedKey, NewKey},
    store::{Database, Table, TransactionError, connection::KeyConnection},
};

/// Issues, lists and changes the keys of a database.
///
/// Every change is a transaction of its own over a connection of its own, durable before it
/// returns. No [`AppKeys`](crate::AppKeys) of this process accepts a key any longer once the call
/// that revoked it has returned, whichever handle made the call. All calls block: within a request,
/// make them through [`actix_web::web::block`].
#[derive(Clone, Debug)]
pub struct Admin {
    table: Table,
    format_rules: FormatRules,
    digester: Digester,
    /// The cache of the handle that this belongs to, if it serves keys.
    cache: Option<Arc<Cache>>,
}

impl Admin {
    pub(crate) fn new(
        database: Database,
        format_rules: FormatRules,
        digester: Digester,
        clock: Clock,
    ) -> Self {
        Self { table: Table::new(database, clock), format_rules, digester, cache: None }
    }

    /// Has this process forget at once what it changes here.
    pub(crate) fn forgetting_in(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Runs the pending migrations, and returns their versions; see
    /// [`AppKeysBuilder::migrate`](crate::AppKeysBuilder::migrate).
    ///
    /// # Errors
    /// Returns an error if the database is unavailable or a migration fails. A failed call changes
    /// nothing.
    pub fn migrate(&self) -> Result<Vec<String>, Error> {
        self.table.migrate()
    }

    /// Issues a key.
    ///
    /// # Errors
    /// When what is asked for is unusable, the operating system gives no entropy, the table's keys
    /// are under another pepper, or the database fails. No key exists then.
    pub fn issue(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        let issued = self.table.issue(|now| new.make(&self.format_rules, &self.digester, now));
        self.done(issued, |issued| &issued.record)
    }

    /// Issues a key within a transaction of yours: one for a new user, so that neither is there
    /// without the other.
    ///
    /// It is there when you commit, and this process and all others learn of it then, as of any
    /// change. It is not checked that the connection leads to the same database as this. After an
    /// error roll back; on SQLite begin with `immediate_transaction`, because a transaction that
    /// turns into a write later fails where another one writes.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use api_key_runtime::{AppKeys, admin::{ListKeys, NewKey}};
    /// use diesel::{RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _, prelude::*};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("issue-within-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
    /// let admin = AppKeys::builder().database_url(&url).build_admin()?;
    /// # admin.migrate()?;
    /// let mut connection = SqliteConnection::establish(&url)?;
    /// # connection.batch_execute("CREATE TABLE users (name TEXT NOT NULL PRIMARY KEY)")?;
    /// let key = connection.immediate_transaction(|connection| {
    ///     diesel::sql_query("INSERT INTO users (name) VALUES ('ada')").execute(connection)?;
    ///     let new = NewKey::new("first key").allow_any().owner("ada");
    ///     let issued = admin.issue_in_transaction(connection, &new)?;
    ///     Ok::<_, Box<dyn std::error::Error>>(issued.secret)
    /// })?;
    /// # assert_eq!(admin.list(&ListKeys::new())?.len(), 1);
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
        self.table.set_clock(|| connection.time())?;
        let mut issued = new.make(&self.format_rules, &self.digester, self.now())?;
        issued.record = connection.issue_in_transaction(&issued.record)?;
        Ok(issued)
    }

    /// Returns the selected keys, oldest first: `admin.list(&ListKeys::new())` returns every key
    /// there is or was.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub fn list(&self, wanted: &ListKeys) -> Result<Vec<KeyRecord>, Error> {
        self.table.list(wanted)
    }

    /// Returns one key.
    ///
    /// # Errors
    /// Returns an error if no key has this id, or if the database fails.
    pub fn get(&self, id: i64) -> Result<KeyRecord, Error> {
        self.table.get(id)?.ok_or_else(|| Error::not_found(id))
    }

    /// Returns the record of a key that somebody has, or `None` if services do not know the key.
    ///
    /// The key is looked up as services look it up: by its digest under the current pepper, then
    /// under the previous pepper. So an admin whose peppers are not those of the service finds
    /// nothing. The key itself is neither stored nor logged.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use api_key_runtime::{AppKeys, admin::NewKey};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("find-by-secret-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
    /// let admin = AppKeys::builder().database_url(&url).build_admin()?;
    /// # admin.migrate()?;
    /// # let leaked = admin.issue(&NewKey::new("billing").allow_any())?.secret;
    /// # let leaked = leaked.expose_secret();
    /// // A key that was found in a public repository.
    /// if let Some(record) = admin.find_by_secret(leaked)? {
    ///     admin.revoke(record.id)?;
    /// }
    /// # assert!(admin.find_by_secret(leaked)?.is_some_and(|record| record.revoked_at.is_some()));
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the database fails or is a hot standby.
    pub fn find_by_secret(&self, secret: &str) -> Result<Option<KeyRecord>, Error> {
        let digests: Vec<KeyDigest> = self.digester.digests(secret).iter().collect();
        let records = self.table.find(&digests)?;
        let mut made_by = digests.iter().zip(self.digester.algorithms());
        Ok(made_by.find_map(|(digest, algorithm)| {
            let is = |record: &&KeyRecord| {
                record.digest == *digest && record.digest_algorithm == *algorithm
            };
            records.iter().find(is).cloned()
        }))
    }

    /// Returns the usage of those keys within a range of ids that were ever used, by id: how often,
    /// when and from which IP address the last time. `admin.list_usage(..)` returns the usage of
    /// every key, `first..=last` that of a page of [`list`](Self::list).
    ///
    /// Services record usage every few seconds; see
    /// [`AppKeysBuilder::usage_flush_interval`](crate::AppKeysBuilder::usage_flush_interval).
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub fn list_usage(&self, ids: impl RangeBounds<i64>) -> Result<Vec<KeyUsage>, Error> {
        let first = match ids.start_bound() {
            Bound::Included(&id) => id,
            Bound::Excluded(&id) => id.saturating_add(1),
            Bound::Unbounded => i64::MIN,
        };
        let last = match ids.end_bound() {
            Bound::Included(&id) => id,
            Bound::Excluded(&id) => id.saturating_sub(1),
            Bound::Unbounded => i64::MAX,
        };
        self.table.usage(&(first..=last))
    }

    /// Returns the usage of one key, or `None` if the key was never used.
    ///
    /// # Errors
    /// Returns an error if no key has this id, or if the database fails.
    pub fn usage(&self, id: i64) -> Result<Option<KeyUsage>, Error> {
        match self.table.usage_of(id)? {
            Some(usage) => Ok(Some(usage)),
            None => self.get(id).map(|_| None),
        }
    }

    /// Revokes a key for good. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// When there is no such key or the database fails.
    pub fn revoke(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.revoke(id), |record| record)
    }

    /// Switches a key off until it is enabled again. One that is disabled already stays as it is.
    ///
    /// # Errors
    /// When there is no such key, it is revoked, or the database fails.
    pub fn disable(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.disable(id), |record| record)
    }

    /// Switches a disabled key on again.
    ///
    /// # Errors
    /// When there is no such key, it is revoked, or the database fails.
    pub fn enable(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.enable(id), |record| record)
    }

    /// Copies an SQLite database to a new file, beside running services, and checks the copy by
    /// opening it.
    ///
    /// The copy has everything in it: no `-wal` file belongs to it. It is readable for its owner
    /// alone. The guide says how to restore it.
    ///
    /// # Errors
    /// When the file exists, it cannot be written, or the database is not SQLite. No file is left
    /// then.
    pub fn back_up(&self, to: impl AsRef<Path>) -> Result<(), Error> {
        self.table.back_up(to.as_ref())
    }

    /// Returns the current time by the clock that decides whether a key has expired. Pass it to
    /// [`KeyRecord::state`].
    ///
    /// With Postgres this is the database's clock, as the last call read it. With SQLite, and
    /// before the first call, it is the local clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.table.now()
    }

    /// Applies a change to every cache of this process before its caller learns that it is done.
    fn done<T>(
        &self,
        done: Result<T, TransactionError>,
        record: impl Fn(&T) -> &KeyRecord,
    ) -> Result<T, Error> {
        match &done {
            Ok(done) => {
                process::apply_change(self.cache.as_ref(), record(done), MonotonicTime::now());
            }
            Err(error) if error.maybe_committed() => process::apply_everything(),
            Err(_) => {}
        }
        done.map_err(|error| self.table.error_of(error))
    }
}
