//! Key storage: the trait that every store implements, and the implementation over Diesel.

use std::{error, fmt, sync::Arc};

use crate::{key_record::KeyRecord, key_usage::KeyUsage};

mod changes;
#[cfg(feature = "_diesel")]
mod checked_connection;
#[cfg(feature = "_diesel")]
pub(crate) mod connection;
#[cfg(feature = "_diesel")]
mod database;
#[cfg(feature = "_diesel")]
mod diesel_feed;
#[cfg(feature = "_diesel")]
mod diesel_store;
#[cfg(feature = "_diesel")]
mod import;
#[cfg(feature = "_diesel")]
pub(crate) mod key_pages;
#[cfg(feature = "_diesel")]
pub(crate) mod migrations;
#[cfg(feature = "_diesel")]
mod pepper_check;
#[cfg(feature = "_diesel")]
mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "_diesel")]
mod read_server;
#[cfg(feature = "_diesel")]
mod schema_check;
#[cfg(feature = "_diesel")]
mod slow_call;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "_diesel")]
mod table;
#[cfg(feature = "_diesel")]
mod transaction_error;

pub use self::changes::{ChangeFeed, Changed, Changes};
#[cfg(feature = "_diesel")]
pub use self::diesel_store::DieselStore;
#[cfg(feature = "_diesel")]
use self::{
    connection::{Connection, Queries},
    diesel_store::FromPrimary,
    schema_check::SchemaVersion,
};
#[cfg(feature = "_diesel")]
pub(crate) use self::{
    database::Database, diesel_store::IDLE_TIMEOUT, import::Refusal, migrations::migrate,
    table::Table, transaction_error::TransactionError,
};
pub use crate::key::{DigestAlgorithm, KeyDigest};

/// A store of API keys.
///
/// [`AppKeysBuilder::database_url`](crate::AppKeysBuilder::database_url) creates this crate's own
/// store. Implement this trait to keep keys elsewhere;
/// [`AppKeys::make_key`](crate::AppKeys::make_key) creates keys for such a store. Store and return
/// every field of a record. For example, a key is rejected if its `digest_algorithm` is not the
/// algorithm that produced its digest.
///
/// The methods are synchronous and may block. This crate calls them on its own threads, never on an
/// actix-web worker. A panic counts as an error.
///
/// ```
/// use std::{
///     collections::HashMap,
///     sync::{Arc, Mutex},
/// };
///
/// use api_key_runtime::{
///     AppKeys,
///     admin::{KeyRecord, NewKey},
///     store::{KeyDigest, KeyStore, StoreError},
/// };
///
/// #[derive(Default)]
/// struct Shelf(Mutex<HashMap<KeyDigest, KeyRecord>>);
///
/// impl KeyStore for Shelf {
///     fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
///         // A failure is an error, never an empty result.
///         let records = self.0.lock().map_err(|_| StoreError::new("the shelf is poisoned"))?;
///         Ok(digests.iter().filter_map(|digest| records.get(digest)).cloned().collect())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shelf = Arc::new(Shelf::default());
/// let keys = AppKeys::builder().store(Arc::clone(&shelf)).build()?;
/// let issued = keys.make_key(&NewKey::new("baker").allow_any())?;
/// let (digest, mut record) = (issued.record.digest, issued.record);
/// record.id = 1;
/// shelf.0.lock().map_err(|_| "poisoned")?.insert(digest, record);
/// println!("give this to the baker: {}", issued.secret.expose_secret());
/// # assert_eq!(shelf.find(&[digest])?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub trait KeyStore: Send + Sync + 'static {
    /// Returns the records with these digests, in any order. A digest without a record is left out,
    /// and its key is unknown.
    ///
    /// Implementations must read the current state, so they must not read a replica that may lag
    /// behind. All digests of one call must be read in one snapshot.
    ///
    /// A call counts as hung after the lookup timeout or 1 second, whichever is longer. Another
    /// thread then takes over, and requests no longer wait for the result.
    ///
    /// # Errors
    /// Returns an error if the records cannot be read. Requests with these keys get a 503 response,
    /// unless `stale_if_error` allows a stale cache entry. The error is not cached. Never return an
    /// empty result in place of an error.
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError>;

    /// Opens a feed of changes, or returns `None` if the store cannot report changes. The default
    /// implementation returns `None`.
    ///
    /// Without a feed, a cached key is looked up again once its last lookup is older than
    /// `max_staleness`. After `None`, `watch` is not called again. After an error, or if a feed
    /// fails or hangs, `watch` is called again.
    ///
    /// A store may have several feeds at the same time. Each `AppKeys` opens its own feed, and an
    /// abandoned feed may still be inside a call.
    ///
    /// # Errors
    /// Returns an error if the feed cannot currently be opened.
    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        Ok(None)
    }

    /// Adds this usage to the recorded usage. The default implementation records nothing.
    ///
    /// Each key occurs once, and the keys are in ascending order of their ids. Other processes
    /// record usage of the same keys. So add the counts, and keep the later `last_used_at` together
    /// with its `last_used_ip`. Skip keys that no longer exist.
    ///
    /// This method is called at every `usage_flush_interval` in which keys were used, and when an
    /// `AppKeys` closes. The interval defaults to 10 seconds, and one call contains at most 500
    /// keys. The next call begins after the last call has returned or has been running for 30
    /// seconds. No request waits for a call or depends on its result.
    ///
    /// # Errors
    /// Returns an error if nothing was recorded. The same usage is then passed again later,
    /// together with new usage.
    fn record_usage(&self, usage: &[KeyUsage]) -> Result<(), StoreError> {
        let _ = usage;
        Ok(())
    }

    /// Closes connections that are not in use. The default implementation does nothing.
    ///
    /// This method is called last when an `AppKeys` closes, after its other calls have returned or
    /// have taken too long. A store shared by several `AppKeys` must keep working for the remaining
    /// instances.
    ///
    /// # Errors
    /// Returns an error if the store could not be closed properly.
    /// [`AppKeys::close`](crate::AppKeys::close) returns that error.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        (**self).find(digests)
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        (**self).watch()
    }

    fn record_usage(&self, usage: &[KeyUsage]) -> Result<(), StoreError> {
        (**self).record_usage(usage)
    }

    fn close(&self) -> Result<(), StoreError> {
        (**self).close()
    }
}

impl From<crate::error::Error> for StoreError {
    fn from(error: crate::error::Error) -> Self {
        Self::new(error)
    }
}

/// An error from a store. The error text is logged and never sent to a client.
#[derive(Debug)]
pub struct StoreError(Box<dyn error::Error + Send + Sync>);

impl StoreError {
    /// Creates an error from a driver's error or a text.
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
