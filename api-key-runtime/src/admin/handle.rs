//! Administration of keys, independent of HTTP. The command `app-key` is a thin layer over this
//! module.

use std::{
    ops::{Bound, RangeBounds},
    path::Path,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{
    cache::{Cache, process},
    clock::{Clock, MonotonicTime},
    error::Error,
    key::{Digester, FormatRules, KeyDigest},
    key_changes::KeyChanges,
    key_event::KeyEvent,
    key_fields::check_text,
    key_record::{KeyRecord, Updated},
    key_usage::KeyUsage,
    list_keys::ListKeys,
    new_key::{IssuedKey, NewKey},
    prune::{Prune, Pruned},
    rotation::{Rotated, rotate},
    store::{Database, Table, TransactionError, connection::KeyConnection, key_pages::KeyPages},
};

/// A handle that issues, lists and changes the keys in a database.
///
/// A service gets its `Admin` from [`AppKeys::admin`](crate::AppKeys::admin). A program that does
/// not serve requests gets its `Admin` from
/// [`AppKeysBuilder::build_admin`](crate::AppKeysBuilder::build_admin).
///
/// Each call uses its own connection, except [`issue_in_transaction`](Self::issue_in_transaction).
/// A change is durable before the call returns. A call that fails before its commit changes
/// nothing. If the connection is lost during the commit, the error says that the change may have
/// been saved.
///
/// Once a call that revokes a key has returned, no [`AppKeys`](crate::AppKeys) of this process
/// accepts the key.
///
/// The calls that use the database block. Within a request, call them through
/// [`actix_web::web::block`].
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
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) table: Table,
    pub(super) format_rules: FormatRules,
    pub(super) digester: Digester,
    /// The cache of the `AppKeys` that returned this `Admin`. `None` for an `Admin` from
    /// `build_admin`.
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

    /// Sets the cache of the `AppKeys` that this `Admin` belongs to.
    pub(crate) fn forgetting_in(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Runs the pending migrations, and returns their versions; see
    /// [`AppKeysBuilder::migrate`](crate::AppKeysBuilder::migrate).
    ///
    /// # Errors
    /// Returns an error if the database is unavailable or a migration fails. A failed call leaves
    /// the tables unchanged.
    pub fn migrate(&self) -> Result<Vec<String>, Error> {
        self.table.migrate()
    }

    /// Issues a key. Only the result contains the secret; the secret cannot be read again.
    ///
    /// # Errors
    /// Returns an error in these cases:
    ///
    /// - a value of the new key is invalid;
    /// - the operating system returns no entropy;
    /// - the stored keys use another pepper;
    /// - the database fails.
    #[doc(alias = "create")]
    #[doc(alias = "generate")]
    pub fn issue(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        let issued = self.table.issue(|now| new.make(&self.format_rules, &self.digester, now));
        self.done(issued, |issued| [&issued.record])
    }

    /// Issues a key within your own transaction. For example, a new user and the first key of this
    /// user are either both stored, or neither is stored.
    ///
    /// The key exists once you commit the transaction. Unlike after [`issue`](Self::issue), the
    /// caches of this process are not updated at once, but by the change feed. The call does not
    /// check that the connection is to the database of this `Admin`.
    ///
    /// Roll back after an error. On SQLite, begin the transaction with `immediate_transaction`: a
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
    /// Returns an error in the cases of [`issue`](Self::issue), and if this `Admin` is a
    /// [`dry_run`](Self::dry_run).
    pub fn issue_in_transaction(
        &self,
        connection: &mut impl KeyConnection,
        new: &NewKey,
    ) -> Result<IssuedKey, Error> {
        if self.table.is_dry_run() {
            return Err(Error::invalid_input(
                "no key was issued: a dry run cannot roll back the application's own transaction; roll it back yourself instead",
            ));
        }
        self.table.set_clock(|| connection.time())?;
        let mut issued = new.make(&self.format_rules, &self.digester, self.now())?;
        issued.record = connection.issue_in_transaction(self.table.actor(), &issued.record)?;
        Ok(issued)
    }

    /// Returns the selected keys, oldest first. `admin.list(&ListKeys::new())` returns all keys,
    /// including revoked keys.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub fn list(&self, wanted: &ListKeys) -> Result<Vec<KeyRecord>, Error> {
        self.table.list(wanted)
    }

    /// Returns the selected keys with their usage, oldest first, page by page. Memory use does not
    /// grow with the number of keys.
    ///
    /// The pages are read over one connection, which is held until the iterator is dropped.
    ///
    /// ```no_run
    /// use api_key_runtime::{Error, admin::{Admin, ListKeys}};
    ///
    /// fn print_all_keys(admin: &Admin) -> Result<(), Error> {
    ///     for page in admin.pages(&ListKeys::new())? {
    ///         for listed in page? {
    ///             let uses = listed.usage.map_or(0, |usage| usage.count);
    ///             println!("{} {} {uses}", listed.record.id, listed.record.name);
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the database fails.
    #[doc(alias = "stream")]
    pub fn pages(&self, wanted: &ListKeys) -> Result<KeyPages, Error> {
        self.table.pages(wanted)
    }

    /// Returns the record of the key with this id.
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
    /// pepper, then by its digest under the previous pepper. So this `Admin` needs the same peppers
    /// as the service. The key itself is neither stored nor logged.
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
    /// `admin.list_usage(..)` returns the usage of every key. For the usage of one page of
    /// [`list`](Self::list), pass the range from the page's first id to its last id.
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

    /// Revokes a key permanently. A key that is already revoked is not changed.
    ///
    /// # Errors
    /// Returns an error if no key has this id, or if the database fails.
    #[doc(alias = "delete")]
    pub fn revoke(&self, id: i64) -> Result<KeyRecord, Error> {
        let revoked = self.table.update(id, |before, now| {
            Ok(KeyRecord { revoked_at: before.revoked_at.or(Some(now)), ..before.clone() })
        });
        self.done(revoked, |revoked| [&revoked.after]).map(|revoked| revoked.after)
    }

    /// Disables a key until it is enabled again. A key that is already disabled is not changed.
    ///
    /// # Errors
    /// Returns an error if no key has this id, if the key is revoked, or if the database fails.
    #[doc(alias = "suspend")]
    pub fn disable(&self, id: i64) -> Result<KeyRecord, Error> {
        self.set_disabled(id, |disabled_at, now| disabled_at.or(Some(now)))
    }

    /// Enables a disabled key. A key that is not disabled is not changed.
    ///
    /// # Errors
    /// Returns an error if no key has this id, if the key is revoked, or if the database fails.
    pub fn enable(&self, id: i64) -> Result<KeyRecord, Error> {
        self.set_disabled(id, |_, _| None)
    }

    /// Changes a key, and returns the key before and after the change.
    ///
    /// # Errors
    /// Returns an error if no key has this id, the key is revoked, the changed key would not be
    /// valid, or the database fails.
    pub fn update(&self, id: i64, changes: &KeyChanges) -> Result<Updated, Error> {
        let updated = self.table.update(id, |before, now| changes.apply(before, now));
        self.done(updated, |updated| [&updated.after])
    }

    /// Replaces a key with a new key that has the same settings. Both keys work until the overlap
    /// ends, so that clients can switch to the new key without a rejected request.
    ///
    /// The old key expires when the overlap ends, or at its previous expiry if that is earlier.
    /// With an overlap of zero, the old key is revoked immediately. If the old key has an expiry,
    /// the new key gets the same lifetime, counted from now. The new key is native, even if the old
    /// key is not.
    ///
    /// To end the overlap earlier, call [`revoke`](Self::revoke) with the id of the old key. The
    /// [`usage`](Self::usage) of the old key shows whether a client still uses the old key.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use std::time::Duration;
    ///
    /// use api_key_runtime::{AppKeys, admin::NewKey};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("rotate-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
    /// # let admin = AppKeys::builder().database_url(&url).migrate()?.build_admin()?;
    /// # let id = admin.issue(&NewKey::new("billing").allow_any())?.record.id;
    /// let rotated = admin.rotate(id, Duration::from_secs(24 * 60 * 60))?;
    /// println!("{}", rotated.issued.secret.expose_secret()); // shown only once
    /// assert_eq!(rotated.old.replaced_by, Some(rotated.issued.record.id));
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error in the cases of [`issue`](Self::issue). Also returns an error if no key has
    /// this id, if the old key is revoked, disabled, expired or already rotated, or if the overlap
    /// is longer than 366 days.
    pub fn rotate(&self, id: i64, overlap: Duration) -> Result<Rotated, Error> {
        let rotated = self.table.rotate(id, |old, now| {
            let (new, old) = rotate(old, overlap, now)?;
            Ok((new.make(&self.format_rules, &self.digester, now)?, old))
        });
        self.done(rotated, |rotated| [&rotated.old, &rotated.issued.record])
    }

    /// Returns the newest events of a key from the audit log: at most `limit` events, oldest first.
    /// Events outlive the key. An event for several keys is included if `id` is in its range of
    /// ids.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    #[doc(alias = "audit")]
    pub fn history(&self, id: i64, limit: u32) -> Result<Vec<KeyEvent>, Error> {
        self.table.events(id, limit)
    }

    /// Deletes keys that expired or were revoked long ago, and old events of the audit log.
    ///
    /// The ids and digests of the deleted keys are kept in the table `api_key_pruned`. So neither
    /// an import nor a restored row makes such a key valid again, and no new key gets the id of a
    /// pruned key. The audit log keeps the events of a deleted key until the events themselves are
    /// pruned.
    ///
    /// The rows are deleted in many short transactions, so services are not blocked. Any number of
    /// processes may call this method at once. After an error or a crash, some rows may already be
    /// deleted; another call deletes the remaining rows. Rows that another transaction has locked
    /// are left for the next call. In a [`dry_run`](Self::dry_run), the rows are only counted.
    ///
    /// On Postgres, the role needs SELECT on `api_key_meta`, SELECT, UPDATE and DELETE on
    /// `api_keys` and `api_key_events`, and INSERT on `api_key_pruned`.
    ///
    /// # Errors
    /// Returns an error if the database fails, for example because a foreign key of the application
    /// refers to one of the keys.
    #[doc(alias = "delete")]
    #[doc(alias = "purge")]
    pub fn prune(&self, wanted: &Prune) -> Result<Pruned, Error> {
        let pruned = self.table.prune(wanted, process::apply_deletion);
        self.done(pruned, |_| [])
    }

    /// Returns an `Admin` whose changes the audit log attributes to this actor, such as the name of
    /// the user who is logged in to your administration page. The actor is not verified; on
    /// Postgres the log also records the role of the connection.
    ///
    /// # Errors
    /// Returns an error if the actor is empty or only white space, contains NUL, or has more than
    /// 200 characters.
    pub fn acting_as(self, actor: impl AsRef<str>) -> Result<Self, Error> {
        check_text("actor", actor.as_ref())?;
        Ok(Self { table: self.table.acting_as(actor.as_ref()), ..self })
    }

    /// Returns an `Admin` that rolls back each change instead of committing it. So the database
    /// checks the change and the call returns its result, but nothing changes.
    ///
    /// A key that such an `Admin` issues does not exist, but Postgres does not assign the id of
    /// that key again. [`prune`](Self::prune) only counts the rows, and
    /// [`issue_in_transaction`](Self::issue_in_transaction) returns an error.
    /// [`migrate`](Self::migrate) and [`back_up`](Self::back_up) do not change keys, and take
    /// effect even in a dry run.
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self { table: self.table.dry_run(), ..self }
    }

    /// Copies an SQLite database to a new file, and then checks the copy. Services may keep
    /// running.
    ///
    /// The copy is complete without a `-wal` file. Only the user who owns the copy can read it. The
    /// guide's chapter [`backups`](crate::guide::backups) describes how to restore the copy.
    ///
    /// # Errors
    /// Returns an error if the file exists, if it cannot be written, or if the database is not
    /// SQLite. A failed call leaves no file.
    pub fn back_up(&self, to: impl AsRef<Path>) -> Result<(), Error> {
        self.table.back_up(to.as_ref())
    }

    /// Returns the current time by the clock that decides whether a key has expired. Pass this time
    /// to [`KeyRecord::state`].
    ///
    /// With Postgres, this is the time of the database's clock, computed from the last call that
    /// read this clock. With SQLite, and before the first call, this is the time of the local
    /// clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.table.now()
    }

    fn set_disabled(
        &self,
        id: i64,
        set: impl Fn(Option<DateTime<Utc>>, DateTime<Utc>) -> Option<DateTime<Utc>>,
    ) -> Result<KeyRecord, Error> {
        let updated = self.table.update(id, |before, now| {
            if before.revoked_at.is_some() {
                return Err(Error::revoked(id));
            }
            Ok(KeyRecord { disabled_at: set(before.disabled_at, now), ..before.clone() })
        });
        self.done(updated, |updated| [&updated.after]).map(|updated| updated.after)
    }

    /// Applies a change to every cache of this process, before the caller gets the result of the
    /// change.
    pub(super) fn done<T, const N: usize>(
        &self,
        done: Result<T, TransactionError>,
        records: impl Fn(&T) -> [&KeyRecord; N],
    ) -> Result<T, Error> {
        match &done {
            Ok(_) if self.table.is_dry_run() => {}
            Ok(done) => {
                for record in records(done) {
                    process::apply_change(self.cache.as_ref(), record, MonotonicTime::now());
                }
            }
            Err(error) if error.maybe_committed() => process::apply_everything(),
            Err(_) => {}
        }
        done.map_err(|error| self.table.error_of(error))
    }
}
