//! Keys in memory.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::Utc;

use crate::{
    ChangeCursor, Changes, Error, IssuedKey, KeyDigest, KeyRecord, KeyStore, NewKey, StoreError,
    key::{Digester, KeyForm},
    lock::{lock, wait_timeout},
};

/// Keys in memory, for tests without a database. Clones share the keys. It tells its changes, so keys are cached until they change.
///
/// ```
/// use api_key_runtime::{AppKeys, NewKey, test_util::MemoryStore};
///
/// let store = MemoryStore::default();
/// let key = store.issue(&NewKey::new("test", "0.0.0.0".parse()?))?;
/// let keys = AppKeys::builder().store(store).build()?;
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// How much of the log this clone told last: each application has one of its own.
    told: AtomicUsize,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    /// Signalled when something changed.
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    records: HashMap<KeyDigest, KeyRecord>,
    /// The digest of every change there was.
    log: Vec<KeyDigest>,
}

impl MemoryStore {
    /// Issues a key of the default prefix, digested without a pepper.
    ///
    /// # Errors
    /// When what is asked for is unusable or the operating system gives no entropy.
    pub fn issue(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        let mut issued = new.make(&KeyForm::default(), &Digester::default(), Utc::now())?;
        issued.record.id = self.put(issued.record.clone());
        Ok(issued)
    }

    /// Puts a record, in place of one with the same digest, and answers its id: its own, or the next one where that is zero.
    #[allow(clippy::must_use_candidate, reason = "the id is often of no interest")]
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

    /// Changes the record of this id, if there is one. Its digest stays what it is.
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

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), told: AtomicUsize::default() }
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

    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        let table = self.table();
        let told = table.log.len();
        self.told.store(told, Ordering::Relaxed);
        let cursor = ChangeCursor::new(format!("memory {told}"));
        let since = since
            .and_then(|since| since.as_str().strip_prefix("memory "))
            .and_then(|position| position.parse::<usize>().ok());
        Ok(Some(match since.and_then(|since| table.log.get(since..)) {
            Some(changed) => Changes::keys(cursor, changed.iter().copied()),
            None => Changes::everything(cursor),
        }))
    }

    fn wait_for_change(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let mut table = self.table();
        while table.log.len() == self.told.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            table = wait_timeout(&self.shared.changed, table, left);
        }
    }
}
