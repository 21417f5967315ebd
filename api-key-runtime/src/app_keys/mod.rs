//! The application's handle to its keys.

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

/// The application's handle to its keys. Put a clone of the handle into `app_data`, where
/// `#[require_app_key]` finds it.
///
/// A handle is cheap to clone. [`close`](Self::close) ends the threads of the key set. Dropping the
/// last handle also ends the threads. `app_data` may hold the plain value or
/// `web::Data::new(keys)`. In either case, a handler gets the keys of its scope as an argument,
/// `keys: AppKeys`.
///
#[cfg_attr(feature = "sqlite", doc = "```no_run")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use actix_web::{App, HttpServer};
/// use api_key_runtime::AppKeys;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = AppKeys::builder().database_url("cakes.db").migrate()?.build()?;
/// HttpServer::new(move || App::new().app_data(keys.clone()))
///     .bind("127.0.0.1:8080")?
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Several sets of keys
///
/// An actix-web scope with `AppKeys` in its own `app_data` accepts only the keys of these
/// `AppKeys`. In the example, partners' keys are valid only below `/partner`, and the application's
/// own keys are valid only outside `/partner`. Keep each set in its own table. If each set has its
/// own prefix, the keys of the sets are easy to distinguish. One access log covers all sets.
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
/// #         let is_wanted = |record: &&KeyRecord| digests.contains(&record.digest);
/// #         Ok(records.iter().filter(is_wanted).cloned().collect())
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
/// #         let header = ("X-API-Key", key.secret.expose_secret());
/// #         let request = TestRequest::get().uri(path).insert_header(header).to_request();
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
/// Use either the plain value or `web::Data` throughout. If `app_data` holds both, and they are
/// different key sets, the response is 500.
#[doc(alias = "api key")]
#[doc(alias = "ApiKeys")]
#[derive(Clone, Debug)]
pub struct AppKeys {
    inner: Arc<Inner>,
}

/// The identity of a key set within this process.
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
    /// `None` if `usage_flush_interval` is `None`.
    pub(crate) usage: Option<Usage>,
    pub(crate) responses: Responses,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) rejection_log: RejectionLog,
    pub(crate) counters: Counters,
    pub(crate) clock: Clock,
    #[cfg(feature = "_diesel")]
    admin: Option<crate::admin::Admin>,
    /// `None` after closing, and for keys in a Postgres pool or in the application's own store.
    #[cfg(feature = "_diesel")]
    live_set: std::sync::Mutex<Option<equal_sets::LiveSet>>,
}

impl AppKeys {
    /// Returns the settings with their defaults.
    pub fn builder() -> AppKeysBuilder {
        AppKeysBuilder::default()
    }

    /// Makes a new key and its record, which you insert into your own store. Requests with the key
    /// are accepted once the record is in the store.
    ///
    /// The id of the record is 0. The store assigns the final id. For keys in a database, call
    /// `Admin::issue` instead.
    ///
    /// ```
    /// use api_key_runtime::{AppKeys, Error, admin::{KeyRecord, NewKey}};
    ///
    /// # fn insert(_: KeyRecord) {}
    /// fn issue(keys: &AppKeys) -> Result<(), Error> {
    ///     let issued = keys.make_key(&NewKey::new("billing").allow("10.0.0.0/8")?)?;
    ///     insert(issued.record);
    ///     println!("Your key: {}", issued.secret.expose_secret());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns an error if a value of the new key is invalid, or if the operating system returns no
    /// entropy.
    pub fn make_key(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        new.make(&self.inner.format_rules, &self.inner.digester, self.inner.clock.now())
    }

    /// Returns the [`Admin`](crate::admin::Admin) of these keys, which issues, lists and changes
    /// keys.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), api_key_runtime::Error> {
    /// let keys = api_key_runtime::AppKeys::builder().env()?.build()?;
    /// keys.admin()?.revoke(17)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the keys are in your own store. In this case, call
    /// [`make_key`](Self::make_key).
    #[cfg(feature = "_diesel")]
    pub fn admin(&self) -> Result<&crate::admin::Admin, Error> {
        self.inner.admin.as_ref().ok_or_else(|| {
            Error::config(
                "cannot administer the keys: they are in the application's own store; make them with AppKeys::make_key, or keep them in \
                 a database (AppKeysBuilder::database_url)",
            )
        })
    }

    /// Records the key usage that is not recorded yet. Blocks for at most `timeout`. Requests are
    /// served while the method blocks.
    ///
    /// Usage is recorded every [`usage_flush_interval`](AppKeysBuilder::usage_flush_interval), and
    /// once more by [`close`](Self::close).
    ///
    /// # Errors
    /// Returns an error if not all usage was recorded in time. The usage that was not recorded is
    /// kept and recorded later.
    pub fn flush_usage(&self, timeout: Duration) -> Result<(), Error> {
        match &self.inner.usage {
            Some(usage) if !usage.flush(timeout) => Err(Error::database(
                format!("cannot record all key usage within {timeout:?}"),
                "the log has the cause; the rest is kept and tried again",
            )),
            _ => Ok(()),
        }
    }

    /// Records usage, ends the threads and closes the connections. Later requests are answered 503.
    ///
    /// Call this method when the server has ended: its `run().await` returns after SIGTERM or
    /// Ctrl-C. The method blocks for at most the timeout, and usually for up to a quarter of
    /// `max_staleness`.
    ///
    /// After a call without an error, an SQLite database consists of one file. Its `-wal` file is
    /// absent, or is empty if another program has the database open.
    ///
    /// Dropping the last handle does the same, but tries only once to record usage, blocks for at
    /// most 2 seconds, and logs an error instead of returning it.
    ///
    /// # Errors
    /// Returns an error if usage was not recorded, or if a thread or the store did not end in time.
    /// Also returns an error if the `-wal` file of an SQLite database remains because another
    /// program reads the database. The message names what was not recorded or closed. Closing
    /// continues in the background.
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
    /// HttpServer::new(move || App::new().app_data(served.clone()))
    ///     .bind("127.0.0.1:8080")?
    ///     .run()
    ///     .await?;
    /// keys.close(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "shutdown")]
    #[doc(alias = "graceful shutdown")]
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.inner.close(timeout, |usage, left| usage.flush(left()) & usage.end(left()))
    }

    /// Returns whether keys can be checked at the moment, and how fresh the cache is. See
    /// [`Health`] for an example of a readiness route.
    #[doc(alias = "readiness")]
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.feed.health(MonotonicTime::now())
    }

    /// Returns the counters since the key set was built, and the current values of the gauges. This
    /// method does not query the store.
    ///
    /// ```
    /// use api_key_runtime::{AppKeys, require_app_key};
    ///
    /// #[actix_web::get("/metrics")]
    /// #[require_app_key(scopes = "metrics:read")]
    /// async fn metrics(keys: AppKeys) -> String {
    ///     keys.metrics().to_prometheus()
    /// }
    /// ```
    #[doc(alias = "prometheus")]
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
