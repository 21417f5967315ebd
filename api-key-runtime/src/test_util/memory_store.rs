//! Keys in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::Utc;

use crate::{
    Digest, Error, IssuedKey, KeyRecord, KeyStore, NewKey, StoreError,
    key::{Digester, KeyForm},
};

/// Keys in memory, for tests without a database. Clones share the keys.
///
/// ```
/// use api_key_runtime::{AppKeys, NewKey, test_util::MemoryStore};
///
/// let store = MemoryStore::default();
/// let key = store.issue(&NewKey::new("test", "0.0.0.0".parse()?))?;
/// let keys = AppKeys::builder().store(store).build()?;
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<HashMap<Digest, KeyRecord>>>);

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
        let mut records = self.records();
        if record.id == 0 {
            record.id = records
                .values()
                .map(|record| record.id)
                .max()
                .unwrap_or(0)
                .saturating_add(1);
        }
        let id = record.id;
        records.insert(record.digest, record);
        id
    }

    /// Changes the record of this id, if there is one.
    pub fn change(&self, id: i64, change: impl FnOnce(&mut KeyRecord)) {
        if let Some(record) = self.records().values_mut().find(|record| record.id == id) {
            change(record);
        }
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Digest, KeyRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for MemoryStore {
    fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
        let records = self.records();
        Ok(digests
            .iter()
            .filter_map(|digest| records.get(digest).cloned())
            .collect())
    }
}
