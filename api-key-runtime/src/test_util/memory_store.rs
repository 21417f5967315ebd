//! A store in memory.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use chrono::Utc;

use crate::{
    error::Error,
    key::{Digester, FormatRules, KeyDigest},
    key_record::KeyRecord,
    lock::{lock, wait_timeout_while},
    new_key::{IssuedKey, NewKey},
    store::{ChangeFeed, Changed, Changes, KeyStore, StoreError},
};

/// A store in memory, for tests without a database. Clones share the keys. The store reports
/// changes, so a key stays cached until the key changes.
///
/// ```
/// use api_key_runtime::{AppKeys, admin::NewKey, test_util::MemoryStore};
///
/// let store = MemoryStore::default();
/// let key = store.issue(&NewKey::new("test").allow_any())?;
/// let keys = AppKeys::builder().store(store).build()?;
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    /// Notified on every change.
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    records: HashMap<KeyDigest, KeyRecord>,
    /// The digests of all changes, in order.
    log: Vec<KeyDigest>,
}

impl MemoryStore {
    /// Issues a key with the default prefix, digested without a pepper.
    ///
    /// # Errors
    /// Returns an error if the new key is invalid or the operating system has no entropy.
    pub fn issue(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        let mut issued = new.make(&FormatRules::default(), &Digester::default(), Utc::now())?;
        issued.record.id = self.put(issued.record.clone());
        Ok(issued)
    }

    /// Inserts a record or replaces the record with the same digest, and returns its id. If the id
    /// is zero, the record gets the next free id.
    #[allow(clippy::must_use_candidate, reason = "callers often ignore the id")]
    pub fn put(&self, mut record: KeyRecord) -> i64 {
        let mut table = self.table();
        if record.id == 0 {
            record.id =
                table.records.values().map(|record| record.id).max().unwrap_or(0).saturating_add(1);
        }
        let id = record.id;
        table.log.push(record.digest);
        table.records.insert(record.digest, record);
        self.shared.changed.notify_all();
        id
    }

    /// Changes the record with this id. If no record has the id, nothing happens. `change` must not
    /// modify the digest of the record.
    pub fn change(&self, id: i64, change: impl FnOnce(&mut KeyRecord)) {
        let mut table = self.table();
        let Table { records, log } = &mut *table;
        if let Some((digest, record)) = records.iter_mut().find(|(_, record)| record.id == id) {
            log.push(*digest);
            change(record);
            self.shared.changed.notify_all();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.shared.table)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryStore(..)")
    }
}

impl KeyStore for MemoryStore {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let table = self.table();
        Ok(digests.iter().filter_map(|digest| table.records.get(digest).cloned()).collect())
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        Ok(Some(Box::new(MemoryFeed { shared: Arc::clone(&self.shared), position: None })))
    }
}

struct MemoryFeed {
    shared: Arc<Shared>,
    /// The number of log entries that were read so far. `None` before the first read.
    position: Option<usize>,
}

impl ChangeFeed for MemoryFeed {
    fn changes(&mut self) -> Result<Changes, StoreError> {
        let table = lock(&self.shared.table);
        let new = self.position.and_then(|position| table.log.get(position..));
        let changed = new.map_or(Changed::Everything, |new| Changed::Keys(new.to_vec()));
        self.position = Some(table.log.len());
        Ok(Changes::new(changed))
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        let table = lock(&self.shared.table);
        let is_read = |table: &mut Table| self.position == Some(table.log.len());
        drop(wait_timeout_while(&self.shared.changed, table, at_most, is_read));
        Ok(())
    }
}
