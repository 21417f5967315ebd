//! The application's handle on its keys: what it may ask of them.

mod build;
mod builder;
mod close;
mod environment;
#[cfg(feature = "_diesel")]
mod equal_sets;
mod extractor;
mod variables;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use self::builder::AppKeysBuilder;
use self::close::Closing;
pub(crate) use self::extractor::of;
use crate::{
    cache::Cache,
    change_feed::{FeedThread, Health},
    clock::{Clock, MonotonicTime},
    error::Error,
    key::{Digester, FormatRules},
    lookup::Lookups,
    metrics::{Counters, Gauges, Metrics},
    new_key::{IssuedKey, NewKey},
    rejection::{RejectionLog, Responses},
    request::{KeyLocations, TrustedProxies},
    supervisor::Supervisor,
    usage::Usage,
};

/// The keys of an application: put a clone into its `app_data`, and `#[require_app_key]` finds it
/// there.
///
/// A handle is cheap to clone. [`close`](Self::close) ends its threads, and so does dropping the
/// last handle. `web::Data::new(keys)` works as well as the plain value. A handler takes the keys
/// of its scope as an argument, `keys: AppKeys`, in either case.
///
#[cfg_attr(feature = "sqlite", doc = "```no_run")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use actix_web::{App, HttpServer};
/// use api_key_runtime::AppKeys;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = AppKeys::builder().database_url("cakes.db").migrate()?.build()?;
/// HttpServer::new(move || App::new().app_data(keys.clone())).bind("127.0.0.1:8080")?.run().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Several sets of keys
///
/// A scope with keys in its own `app_data` knows these alone: a partner's key opens nothing outside
/// of `/partner`, and the application's own keys open nothing within. Keep each set in a table of
/// its own; a prefix for each tells them apart at sight. One access log is made for all of them.
///
/// ```
/// use actix_web::{App, HttpResponse, get, web};
/// use api_key_runtime::{AppKey, AppKeys, require_app_key};
///
/// #[get("/whoami")]
/// #[require_app_key]
/// async fn whoami(key: AppKey) -> HttpResponse {
///     HttpResponse::Ok().body(key.name().to_owned())
/// }
///
/// # use std::sync::{Arc, Mutex};
/// # use api_key_runtime::{admin::{KeyRecord, NewKey}, store::{KeyDigest, KeyStore, StoreError}};
/// # #[derive(Clone, Default)]
/// # struct Table(Arc<Mutex<Vec<KeyRecord>>>);
/// # impl KeyStore for Table {
/// #     fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
/// #         let records = self.0.lock().unwrap();
/// #         Ok(records.iter().filter(|record| digests.contains(&record.digest)).cloned().collect())
/// #     }
/// # }
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (own_table, partner_table) = (Table::default(), Table::default());
/// # let (store, partners) = (own_table.clone(), partner_table.clone());
/// let keys = AppKeys::builder().store(store).build()?;
/// let partner_keys = AppKeys::builder().store(partners).prefix("partner_").build()?;
/// let app = App::new()
///     .wrap(keys.access_log_with(&[&partner_keys]))
///     .app_data(keys.clone())
///     .service(whoami)
///     .service(web::scope("/partner").app_data(partner_keys.clone()).service(whoami));
/// # use actix_web::test::{TestRequest, call_service, init_service, read_body};
/// # let app = init_service(app).await;
/// # for (made_by, table, name, [own, partner]) in [
/// #     (&keys, &own_table, "own", [200, 401]),
/// #     (&partner_keys, &partner_table, "partner", [401, 200]),
/// # ] {
/// #     let key = made_by.make_key(&NewKey::new(name).allow_any())?;
/// #     table.0.lock().unwrap().push(key.record);
/// #     for (path, status) in [("/whoami", own), ("/partner/whoami", partner)] {
/// #         let request = TestRequest::get().uri(path).insert_header(("X-API-Key", key.secret.expose_secret())).to_request();
/// #         let response = call_service(&app, request).await;
/// #         assert_eq!(response.status(), status, "{name} at {path}");
/// #         if status == 200 {
/// #             assert_eq!(read_body(response).await, name);
/// #         }
/// #     }
/// # }
/// # Ok(())
/// # }
/// ```
///
/// Use either the plain value or `web::Data` throughout: where a request finds both, and they are
/// not the same, it is answered 500.
#[doc(alias = "api key")]
#[doc(alias = "ApiKeys")]
#[derive(Clone, Debug)]
pub struct AppKeys {
    inner: Arc<Inner>,
}

/// Tells a set of keys from every other one of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeySetId(u64);

impl KeySetId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) number: KeySetId,
    pub(crate) key_locations: KeyLocations,
    pub(crate) format_rules: FormatRules,
    pub(crate) digester: Digester,
    pub(crate) cache: Arc<Cache>,
    pub(crate) lookups: Arc<Lookups>,
    feed: Arc<FeedThread>,
    supervisor: Supervisor,
    closing: Closing,
    /// None where the application wants none.
    pub(crate) usage: Option<Usage>,
    pub(crate) responses: Responses,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) rejection_log: RejectionLog,
    pub(crate) counters: Counters,
    pub(crate) clock: Clock,
    #[cfg(feature = "_diesel")]
    admin: Option<crate::admin::Admin>,
    #[cfg(feature = "_diesel")]
    /// `None` when it is closed, or cannot be compared.
    live_set: std::sync::Mutex<Option<equal_sets::LiveSet>>,
}

impl AppKeys {
    /// Starts setting up.
    pub fn builder() -> AppKeysBuilder {
        AppKeysBuilder::default()
    }

    /// Makes a new key and the record of it, for a store of your own to keep: nothing accepts it
    /// before the record is there.
    ///
    /// The record's id is 0; a store gives its own. Keys of a database are issued by
    /// `Admin::issue`.
    ///
    /// # Errors
    /// When what is asked for is unusable or the operating system gives no entropy.
    pub fn make_key(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        new.make(&self.inner.format_rules, &self.inner.digester, self.inner.clock.now())
    }

    /// Returns the administration of these keys: issue, list and change them.
    ///
    /// # Errors
    /// Returns an error if the keys are in a store of the application's own, which issues keys by
    /// [`make_key`](Self::make_key).
    #[cfg(feature = "_diesel")]
    pub fn admin(&self) -> Result<&crate::admin::Admin, Error> {
        self.inner.admin.as_ref().ok_or_else(|| {
            Error::config(
                "the keys are in a store of the application's own, which AppKeys::admin does not administer; keep them in a database \
                 (AppKeysBuilder::database_url or a pool), or issue them by AppKeys::make_key",
            )
        })
    }

    /// Records the usage of keys that is not recorded yet. It blocks for this long at most, and
    /// requests go on.
    ///
    /// Usage is recorded every [`usage_flush_interval`](AppKeysBuilder::usage_flush_interval), and
    /// once more by [`close`](Self::close).
    ///
    /// # Errors
    /// When not all of it was recorded in time. The rest is kept and tried again.
    pub fn flush_usage(&self, timeout: Duration) -> Result<(), Error> {
        match &self.inner.usage {
            Some(usage) if !usage.flush(timeout) => Err(Error::database(
                format!("the usage of keys was not recorded within {timeout:?}"),
                "the log says why; what was not recorded is tried again",
            )),
            _ => Ok(()),
        }
    }

    /// Records usage, ends the threads and closes the connections. Requests that come later are
    /// answered 503.
    ///
    /// Call it when the server has ended: after SIGTERM or Ctrl-C its `run().await` returns. It
    /// blocks for this long at most, usually a quarter of `max_staleness`. Afterwards an SQLite
    /// file stands alone: its `-wal` is absent, or empty where somebody else has the file open.
    /// Dropping the last handle does the same, tries once to record usage, and waits for two
    /// seconds at most.
    ///
    /// # Errors
    /// When usage was not recorded in time, something was not closed, or the log of an SQLite file
    /// stays because another program reads the file. The message names what it is. Closing goes on
    /// in the background.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```no_run")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use std::time::Duration;
    ///
    /// use actix_web::{App, HttpServer};
    /// use api_key_runtime::AppKeys;
    ///
    /// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = AppKeys::builder().database_url("cakes.db").build()?;
    /// let served = keys.clone();
    /// HttpServer::new(move || App::new().app_data(served.clone())).bind("127.0.0.1:8080")?.run().await?;
    /// keys.close(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.close(timeout, |usage, left| usage.flush(left()) & usage.end(left()))
    }

    /// Whether keys can be judged at the moment, and how fresh what is known of them is: for a
    /// readiness route.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.feed.health(MonotonicTime::now())
    }

    /// What has been counted so far, and what stands so at the moment: for a route that a collector
    /// reads. The store is not asked for anything.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let inner = self.inner();
        let (known, unknown) = inner.cache.sizes();
        let gauges = Gauges {
            waiting: inner.lookups.waiting(),
            known,
            unknown,
            dropped_usage: inner.usage.as_ref().map_or(0, Usage::lost),
            health: self.health(),
        };
        Metrics::new(&inner.counters, inner.lookups.times(), gauges)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}
