//! Where keys are kept: the trait every store implements, and the one over Diesel.

use std::{error, fmt, thread, time::Duration};

use crate::{KeyDigest, KeyRecord, KeyUsage};

#[cfg(feature = "_diesel")]
mod change_reader;
mod changes;
#[cfg(feature = "_diesel")]
mod checked_connection;
#[cfg(feature = "_diesel")]
mod connection;
#[cfg(feature = "_diesel")]
mod database;
#[cfg(feature = "_diesel")]
mod diesel_store;
#[cfg(feature = "_diesel")]
mod key_connection;
#[cfg(feature = "_diesel")]
mod migration_files;
#[cfg(feature = "_diesel")]
mod migrations;
#[cfg(feature = "_diesel")]
mod pepper_check;
#[cfg(feature = "_diesel")]
mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "_diesel")]
mod schema_check;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "_diesel")]
mod table;
#[cfg(feature = "_diesel")]
mod transaction_error;
#[cfg(feature = "_diesel")]
mod usage;

pub(crate) use self::changes::Changed;
pub use self::changes::{ChangeCursor, Changes};
#[cfg(feature = "_diesel")]
use self::{
    connection::{Connection, on_either},
    transaction_error::TransactionError,
};
#[cfg(feature = "_diesel")]
pub(crate) use self::{
    database::Database,
    migrations::migrate,
    table::{Table, Unchanged},
};
#[cfg(feature = "_diesel")]
pub use self::{
    diesel_store::DieselStore,
    key_connection::KeyConnection,
    migration_files::{DatabaseKind, copy_migrations},
};

/// Where keys are looked up.
///
/// The crate's own store is made by `AppKeysBuilder::database_url`; implement this trait to keep keys elsewhere. Keys for it are made by
/// [`AppKeys::make_key`](crate::AppKeys::make_key), whose record it keeps whole: a `digest_algorithm` that does not say how the digest was
/// made refuses the key. It is synchronous and called on the crate's own look-up threads, never on a worker of actix-web: it may block.
/// A panic in it is a store failure, and the caller gets 503.
///
/// ```
/// use std::{
///     collections::HashMap,
///     sync::{Arc, Mutex},
/// };
///
/// use api_key_runtime::{AppKeys, KeyDigest, KeyRecord, KeyStore, NewKey, StoreError};
///
/// #[derive(Clone, Default)]
/// struct Shelf(Arc<Mutex<HashMap<KeyDigest, KeyRecord>>>);
///
/// impl KeyStore for Shelf {
///     fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
///         // Not to be able to tell is an error, and no empty answer.
///         let records = self.0.lock().map_err(|_| StoreError::new("the shelf is poisoned"))?;
///         Ok(digests.iter().filter_map(|digest| records.get(digest)).cloned().collect())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shelf = Shelf::default();
/// let keys = AppKeys::builder().store(shelf.clone()).build()?;
/// let issued = keys.make_key(&NewKey::new("baker", "0.0.0.0".parse()?))?;
/// let (digest, mut record) = (issued.record.digest, issued.record);
/// record.id = 1;
/// shelf.0.lock().map_err(|_| "poisoned")?.insert(digest, record);
/// println!("give this to the baker: {}", issued.secret.expose_secret());
/// # assert_eq!(shelf.find(&[digest])?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub trait KeyStore: Send + Sync + 'static {
    /// The records with these digests, in any order; a digest without a record is unknown.
    ///
    /// It must read the current state, not a copy that may be behind, and answer for all digests from one moment.
    ///
    /// A call that takes longer than twice the look-up timeout, and at least a second, counts as hung: another thread takes its place, and
    /// its answer is of no use any more.
    ///
    /// # Errors
    /// When the store cannot tell. An error is answered with 503 and never remembered, so never answer "unknown" for "cannot tell".
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError>;

    /// What changed since this cursor of an earlier answer; `None`, which is the default, where the store does not tell.
    ///
    /// `None` is for good: it is not asked again. Answer an error while the store cannot tell.
    ///
    /// It must read the current state, by a read that begins after the call does, and name every key whose change was complete by then:
    /// a cached key is trusted for as long as this keeps answering. Called on one thread of the crate's own at a time, but for a call
    /// that was given up because it hung: it took more than twice the look-up timeout, and at least two seconds. That time doubles for as
    /// long as no call completes.
    ///
    /// # Errors
    /// When the store cannot tell. Cached keys are then used until they are `max_staleness` old.
    fn changes(&self, since: Option<&ChangeCursor>) -> Result<Option<Changes>, StoreError> {
        let _ = since;
        Ok(None)
    }

    /// Returns when something may have changed, and at the latest after this time. It is only a wake-up: nothing rests on it. One that
    /// takes longer by as much as a call of [`changes`](Self::changes) may take counts as hung and is given up.
    fn wait_for_change(&self, at_most: Duration) {
        thread::sleep(at_most);
    }

    /// Adds uses of keys to what is recorded of them; by default nothing is recorded.
    ///
    /// Each key comes once, the one with the lowest id first. Counts add up, and of two times the later one stands with its address: other
    /// processes record uses of the same keys, of earlier and of later ones. A key that is no longer there is left out.
    ///
    /// Called every few seconds on a thread of the crate's own, one call at a time but for one that was given up because it hung. No
    /// request waits for it, and no answer depends on it.
    ///
    /// # Errors
    /// When nothing of it was recorded: the same uses come again, with those that were added since.
    fn record_usage(&self, uses: &[KeyUsage]) -> Result<(), StoreError> {
        let _ = uses;
        Ok(())
    }
}

#[cfg(feature = "_diesel")]
impl From<crate::Error> for StoreError {
    fn from(error: crate::Error) -> Self {
        Self::new(error)
    }
}

/// Why a store could not answer. Its text goes to the log alone.
#[derive(Debug)]
pub struct StoreError(Box<dyn error::Error + Send + Sync>);

impl StoreError {
    /// An error of a store's driver, or a text.
    pub fn new(cause: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl error::Error for StoreError {}
