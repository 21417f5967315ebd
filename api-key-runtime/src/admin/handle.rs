//! Administration of keys, independent of HTTP. The command `app-key` is a thin shell over it.

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

/// The administration of the keys in a database: issues, lists and changes them.
///
/// A service calls [`AppKeys::admin`](crate::AppKeys::admin). A program that does not serve
/// requests calls [`AppKeysBuilder::build_admin`](crate::AppKeysBuilder::build_admin).
///
/// Every change has its own connection and transaction, and is durable before the call returns.
/// Once a call that revokes a key has returned, no [`AppKeys`](crate::AppKeys) of this process
/// accepts the key. This holds even if another handle made the call. All calls block: within a
/// request, call them through [`actix_web::web::block`].
///
/// To rotate a key, issue a new key. Revoke the old key when the old key's [`usage`](Self::usage)
/// stops changing.
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use std::time::Duration;
///
/// use api_key_runtime::{AppKeys, admin::{ListKeys, NewKey}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("admin-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
/// let admin = AppKeys::builder().database_url(url).migrate()?.build_admin()?;
/// let new = NewKey::new("billing").allow("10.0.0.0/8")?.expires_in(Duration::from_secs(3600));
/// let issued = admin.issue(&new)?;
/// println!("{}", issued.secret.expose_secret()); // shown only once
/// for record in admin.list(&ListKeys::new())? {
///     println!("{} {} {}", record.id, record.name, record.state(admin.now()));
/// }
/// admin.revoke(issued.record.id)?;
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "rotate")]
#[derive(Clone, Debug)]
pub struct Admin {
    table: Table,
    format_rules: FormatRules,
    digester: Digester,
    /// The cache of the `AppKeys` that returned this `Admin`. `None` if `build_admin` returned it.
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

    /// Sets the cache that every change is applied to at once.
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

    /// Issues a key. Only the result contains the secret; the secret cannot be read again.
    ///
    /// # Errors
    /// Returns an error in these cases. No key is issued then.
    ///
    /// - a value of the new key is invalid;
    /// - the operating system returns no entropy;
    /// - the keys of the table are under another pepper;
    /// - the database fails.
    #[doc(alias = "create")]
    #[doc(alias = "generate")]
    pub fn issue(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        let issued = self.table.issue(|now| new.make(&self.format_rules, &self.digester, now));
        self.done(issued, |issued| &issued.record)
    }

    /// Issues a key within your own transaction, such as the first key of a new user. Either both
    /// the user and the key are stored, or neither is stored.
    ///
    /// The key exists once you commit the transaction. This process and all other processes then
    /// read the new key like any other change. The call does not check that the connection leads to
    /// the same database as this `Admin`.
    ///
    /// Roll back after an error. On SQLite begin the transaction with `immediate_transaction`: a
    /// transaction that first reads and then writes fails while another transaction writes.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use api_key_runtime::{AppKeys, admin::{ListKeys, NewKey}};
    /// use diesel::{SqliteConnection, connection::SimpleConnection as _, prelude::*};
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
    /// Returns an error in the cases of [`issue`](Self::issue).
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

    /// Returns the selected keys, oldest first. `admin.list(&ListKeys::new())` returns all keys,
    /// including revoked ones.
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

    /// Returns the record of a key, given the key itself. Returns `None` if the key is not in the
    /// table.
    ///
    /// The key is looked up in the same way as in a service: by its digest under the current
    /// pepper, then by its digest under the previous pepper. So the peppers of this `Admin` must be
    /// those of the service. The key itself is neither stored nor logged.
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
    #[doc(alias = "leak")]
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

    /// Returns the usage of the keys in a range of ids, sorted by id. Usage is the number of uses,
    /// and the time and client IP of the last use. Keys that were never used are left out.
    /// `admin.list_usage(..)` returns the usage of every key. The range `first..=last` selects the
    /// keys of one page of [`list`](Self::list).
    ///
    /// Services record usage every 10 seconds by default; see
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

    /// Revokes a key permanently. A key that is already revoked stays as it is.
    ///
    /// # Errors
    /// Returns an error if no key has this id, or if the database fails.
    #[doc(alias = "delete")]
    pub fn revoke(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.revoke(id), |record| record)
    }

    /// Disables a key until it is enabled again. A key that is already disabled stays as it is.
    ///
    /// # Errors
    /// Returns an error if no key has this id, if the key is revoked, or if the database fails.
    #[doc(alias = "suspend")]
    pub fn disable(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.disable(id), |record| record)
    }

    /// Enables a disabled key. A key that is not disabled stays as it is.
    ///
    /// # Errors
    /// Returns an error if no key has this id, if the key is revoked, or if the database fails.
    pub fn enable(&self, id: i64) -> Result<KeyRecord, Error> {
        self.done(self.table.enable(id), |record| record)
    }

    /// Copies an SQLite database to a new file while services run, and checks the copy by opening
    /// it.
    ///
    /// The copy is complete without a `-wal` file. Only the user who owns the copy can read it. The
    /// guide's chapter [`backups`](crate::guide::backups) describes how to restore it.
    ///
    /// # Errors
    /// Returns an error if the file exists, if it cannot be written, or if the database is not
    /// SQLite. No file is left after an error.
    pub fn back_up(&self, to: impl AsRef<Path>) -> Result<(), Error> {
        self.table.back_up(to.as_ref())
    }

    /// Returns the current time by the clock that decides whether a key has expired. Pass it to
    /// [`KeyRecord::state`].
    ///
    /// With Postgres this is the time of the database's clock, computed from the last call that
    /// read this clock. With SQLite, and before the first call, this is the local time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.table.now()
    }

    /// Applies a change to every cache of this process, before the caller gets the result of the
    /// change.
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
