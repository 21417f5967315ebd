//! The application's handle on its keys, and how it is set up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpRequest, middleware::Logger, web};
#[cfg(feature = "_diesel")]
use diesel::r2d2::{ConnectionManager, Pool};

#[cfg(feature = "_diesel")]
use crate::store::{Database, DieselStore};
#[cfg(feature = "test-util")]
use crate::test_util::TestClock;
use crate::{
    Error, Health, IssuedKey, KeyStore, NewKey, RefusalClass, Source, access_log,
    availability::Availability,
    cache::{Bounds, Cache},
    clock::{Clock, Moment},
    feed::Feed,
    key::{Digester, KeyForm, Prefix},
    lookup::Lookups,
    once::OncePerHour,
    refusal_log::{RefusalLog, route_of},
    request::{Callers, Sources},
    response::{Bodies, Responses},
    usage::{self, Usage},
};

const DEFAULT_REALM: &str = "api";
const DEFAULT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(1);
const DEFAULT_CACHE_CAPACITY: usize = 250_000;

/// The keys of an application: put a clone into its `app_data`, and `#[require_app_key]` finds it there.
///
/// A handle is cheap to clone; its threads end when the last one is dropped, which records the last uses of keys. `web::Data::new(keys)`
/// works as well as the plain value.
///
#[cfg_attr(feature = "sqlite", doc = "```no_run")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use actix_web::{App, HttpServer};
/// use api_key_runtime::AppKeys;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// AppKeys::migrate("cakes.db")?;
/// let keys = AppKeys::builder().database_url("cakes.db").build()?;
/// HttpServer::new(move || App::new().app_data(keys.clone())).bind("127.0.0.1:8080")?.run().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Several sets of keys
///
/// A scope with keys in its own `app_data` knows these alone: a partner's key opens nothing outside of `/partner`, and the application's
/// own keys open nothing within. A prefix for each set tells them apart at sight. The access log is made for all of them, by
/// [`access_log_with`](Self::access_log_with).
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
/// # use api_key_runtime::{Digest, KeyRecord, KeyStore, NewKey, StoreError};
/// # struct Everybody(&'static str);
/// # impl KeyStore for Everybody {
/// #     fn find(&self, digests: &[Digest]) -> Result<Vec<KeyRecord>, StoreError> {
/// #         let mut record = KeyRecord::new(1, digests[0], "0.0.0.0".parse().unwrap());
/// #         record.name = self.0.into();
/// #         Ok(vec![record])
/// #     }
/// # }
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (store, partners) = (Everybody("own"), Everybody("partner"));
/// let keys = AppKeys::builder().store(store).build()?;
/// let partner_keys = AppKeys::builder().store(partners).prefix("partner_").build()?;
/// let app = App::new()
///     .app_data(keys.clone())
///     .service(whoami)
///     .service(web::scope("/partner").app_data(partner_keys.clone()).service(whoami));
/// # use actix_web::test::{TestRequest, call_service, init_service, read_body};
/// # let app = init_service(app).await;
/// # let new = NewKey::new("test", "0.0.0.0".parse()?);
/// # for (made_by, path, answer) in [
/// #     (&keys, "/whoami", Some("own")),
/// #     (&keys, "/partner/whoami", None),
/// #     (&partner_keys, "/whoami", None),
/// #     (&partner_keys, "/partner/whoami", Some("partner")),
/// # ] {
/// #     let key = made_by.make_key(&new)?;
/// #     let request = TestRequest::get().uri(path).insert_header(("X-API-Key", key.secret.expose())).to_request();
/// #     let response = call_service(&app, request).await;
/// #     assert_eq!(response.status() == 200, answer.is_some(), "{path}");
/// #     if let Some(name) = answer {
/// #         assert_eq!(read_body(response).await, name);
/// #     }
/// # }
/// # Ok(())
/// # }
/// ```
///
/// Use either the plain value or `web::Data` throughout: where a request finds both, and they are not the same, it is answered 500.
#[derive(Clone, Debug)]
pub struct AppKeys {
    inner: Arc<Inner>,
}

/// Tells a set of keys from every other one of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetNumber(u64);

impl SetNumber {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) number: SetNumber,
    pub(crate) sources: Sources,
    pub(crate) form: KeyForm,
    pub(crate) digester: Digester,
    pub(crate) cache: Arc<Cache>,
    pub(crate) lookups: Arc<Lookups>,
    feed: Feed,
    /// None where the application wants none.
    pub(crate) usage: Option<Usage>,
    pub(crate) responses: Responses,
    pub(crate) callers: Callers,
    pub(crate) refusal_log: RefusalLog,
    pub(crate) clock: Clock,
    #[cfg(feature = "_diesel")]
    admin: Option<crate::Admin>,
}

impl AppKeys {
    /// Starts setting up.
    pub fn builder() -> AppKeysBuilder {
        AppKeysBuilder::default()
    }

    /// Set up by the environment alone; see [`AppKeysBuilder::from_env`].
    ///
    /// # Errors
    /// Those of [`AppKeysBuilder::from_env`] and [`AppKeysBuilder::build`].
    #[cfg(feature = "_diesel")]
    pub fn from_env() -> Result<Self, Error> {
        AppKeysBuilder::from_env()?.build()
    }

    /// Brings the tables of a database to the newest version, making an SQLite file where there is none, and answers the versions it
    /// ran.
    ///
    /// Safe to call from many processes at once. An application whose own Diesel migrations hold a copy of ours does not call it.
    ///
    /// # Errors
    /// When the URL is unusable, the database away, or a migration fails; nothing is changed then.
    #[cfg(feature = "_diesel")]
    pub fn migrate(database_url: &str) -> Result<Vec<String>, Error> {
        crate::store::migrate(&Database::parse(database_url)?)
    }

    /// Makes a new key and the record of it, for a store of your own to keep: nothing accepts it before the record is there.
    ///
    /// The record's id is 0; a store gives its own. Keys of a database are issued by `Admin::issue`.
    ///
    /// # Errors
    /// When what is asked for is unusable or the operating system gives no entropy.
    pub fn make_key(&self, new: &NewKey) -> Result<IssuedKey, Error> {
        new.make(
            &self.inner.form,
            &self.inner.digester,
            self.inner.clock.now(),
        )
    }

    /// Issues, lists and changes keys; `None` where they are in a store of the application's own.
    #[cfg(feature = "_diesel")]
    #[must_use]
    pub fn admin(&self) -> Option<&crate::Admin> {
        self.inner.admin.as_ref()
    }

    /// Records the uses of keys that were not recorded yet, trying for at most this long, and answers whether it could.
    ///
    /// Call it when the server has ended: after SIGTERM or Ctrl-C its `run().await` returns. It blocks. Dropping the last handle does the
    /// same but tries once and waits for two seconds at most. Requests that come later are served and recorded all the same.
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
    /// keys.shutdown(Duration::from_secs(5));
    /// # Ok(())
    /// # }
    /// ```
    #[allow(
        clippy::must_use_candidate,
        reason = "a process that ends has nobody left to tell"
    )]
    pub fn shutdown(&self, timeout: Duration) -> bool {
        self.inner
            .usage
            .as_ref()
            .is_none_or(|usage| usage.flush(timeout))
    }

    /// An access log whose lines hold no key of this set: `App::new().wrap(keys.access_log())`. Where an application has several sets of
    /// keys, its log is that of all of them: [`access_log_with`](Self::access_log_with).
    ///
    /// It redacts the query parameters a key may be presented in, and whatever looks like a native key wherever it stands. The stock
    /// `Logger` writes both (`%r`), and `{:?}` of a request writes every header but `Authorization` and cookies.
    #[must_use]
    pub fn access_log(&self) -> Logger {
        self.access_log_with(&[])
    }

    /// As [`access_log`](Self::access_log), but that it holds no key of these other sets either:
    /// `App::new().wrap(keys.access_log_with(&[&partner_keys]))`.
    #[must_use]
    pub fn access_log_with(&self, others: &[&Self]) -> Logger {
        let sets = std::iter::once(&self).chain(others);
        access_log::logger(sets.map(|keys| keys.marks()).collect())
    }

    fn marks(&self) -> access_log::Marks {
        let inner = self.inner();
        access_log::Marks {
            sources: inner.sources.clone(),
            prefix: inner.form.prefix.as_str().to_owned(),
        }
    }

    /// Whether keys can be judged at the moment, and how fresh what is known of them is: for a readiness route.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.feed.health(Moment::now())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

/// The keys that apply to a request: those of its innermost scope. `None`, which is logged, where that is unclear.
#[inline]
pub(crate) fn of(request: &HttpRequest) -> Option<&AppKeys> {
    let plain = request.app_data::<AppKeys>();
    let data = request
        .app_data::<web::Data<AppKeys>>()
        .map(web::Data::get_ref);
    let fault = match (plain, data) {
        (Some(plain), Some(data)) if !Arc::ptr_eq(&plain.inner, &data.inner) => {
            "both AppKeys and web::Data<AppKeys>, and which of them is meant is unclear: use one of them throughout"
        }
        (None, None) => {
            "a check for API keys but no AppKeys in the application, or none that reaches it: add .app_data(keys.clone()) to the App, or \
             to the scope or resource that #[require_app_key] stands in or RequireAppKey wraps"
        }
        (plain, data) => return plain.or(data),
    };
    let route = route_of(request);
    if LOGGED.is_due(route.clone()) {
        log::error!("{route} has {fault}; it was answered 500, and no handler was run");
    }
    None
}

static LOGGED: OncePerHour<String> = OncePerHour::new();

/// Sets up [`AppKeys`]. What a setter is given is checked by [`build`](Self::build).
#[derive(Debug, Default)]
#[must_use = "nothing happens until it is built"]
pub struct AppKeysBuilder {
    store: StoreSetting,
    #[cfg(feature = "_diesel")]
    listen_url: Option<Secret>,
    prefix: Option<String>,
    pepper: Option<Secret>,
    previous_pepper: Option<Secret>,
    accept_imported: bool,
    sources: Option<Vec<Source>>,
    trusted_proxies: Vec<String>,
    forwarded_header: Option<String>,
    realm: Option<String>,
    bodies: Bodies,
    lookup_timeout: Option<Duration>,
    max_staleness: Option<Duration>,
    stale_if_error: Duration,
    cache_capacity: Option<usize>,
    usage_interval: Option<Duration>,
    clock: Clock,
}

#[derive(Default)]
enum StoreSetting {
    #[default]
    None,
    #[cfg(feature = "_diesel")]
    Url(String),
    #[cfg(feature = "postgres")]
    PostgresPool(Pool<ConnectionManager<diesel::PgConnection>>),
    #[cfg(feature = "sqlite")]
    SqlitePool(Pool<ConnectionManager<diesel::SqliteConnection>>),
    Own(Arc<dyn KeyStore>),
}

#[cfg(feature = "_diesel")]
impl StoreSetting {
    /// The database that keys are kept in, unless they are elsewhere.
    fn database(&self) -> Result<Option<Database>, Error> {
        Ok(match self {
            Self::Url(url) => Some(Database::parse(url)?),
            #[cfg(feature = "postgres")]
            Self::PostgresPool(pool) => Some(Database::postgres_pool(pool.clone())),
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(pool) => Some(Database::sqlite_pool(pool.clone())?),
            Self::None | Self::Own(_) => None,
        })
    }
}

impl std::fmt::Debug for StoreSetting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            #[cfg(feature = "_diesel")]
            Self::Url(_) => "Url(..)",
            #[cfg(feature = "postgres")]
            Self::PostgresPool(_) => "PostgresPool(..)",
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(_) => "SqlitePool(..)",
            Self::Own(_) => "Own(..)",
        })
    }
}

/// A setting that `Debug` does not show.
struct Secret(zeroize::Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("..")
    }
}

impl AppKeysBuilder {
    /// Settings from the environment, so that a service and the command agree: `DATABASE_URL` (required), `APP_KEY_PREFIX`,
    /// `APP_KEY_PEPPER`, `APP_KEY_PEPPER_PREVIOUS`, `APP_KEY_ACCEPT_IMPORTED` (`1` or `0`), `APP_KEY_TRUSTED_PROXIES` (separated by
    /// spaces) and `APP_KEY_FORWARDED_HEADER`. An empty variable counts as unset, but for the two peppers, where it is refused.
    ///
    /// # Errors
    /// When `DATABASE_URL` is missing, or a variable is not Unicode or has a value it cannot have.
    #[cfg(feature = "_diesel")]
    pub fn from_env() -> Result<Self, Error> {
        let url = variable("DATABASE_URL")?.ok_or_else(|| {
            Error::setting("DATABASE_URL is not set: set it to postgres://USER@HOST/DATABASE or to the path of an SQLite file")
        })?;
        let mut builder = Self::default().database_url(url);
        builder.prefix = variable("APP_KEY_PREFIX")?;
        builder.pepper = secret_variable("APP_KEY_PEPPER")?.map(secret);
        builder.previous_pepper = secret_variable("APP_KEY_PEPPER_PREVIOUS")?.map(secret);
        builder.accept_imported = match variable("APP_KEY_ACCEPT_IMPORTED")?.as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => {
                return Err(Error::setting(format!(
                    "APP_KEY_ACCEPT_IMPORTED is {other:?}, and can be 1 or 0"
                )));
            }
        };
        let proxies = variable("APP_KEY_TRUSTED_PROXIES")?.unwrap_or_default();
        builder.trusted_proxies = proxies
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect();
        builder.forwarded_header = variable("APP_KEY_FORWARDED_HEADER")?;
        Ok(builder)
    }

    /// Keeps keys in this database: `postgres://..` or the path of an SQLite file.
    ///
    /// Recommended whatever the application itself uses to reach its database. Each process takes up to two connections of its own to look
    /// keys up (up to ten for a while when queries hang and their threads are replaced), one to hear of changes and one to record uses (up
    /// to five when those writes hang); one more for a moment when the feed is opened, and while keys are administered. So plan for four
    /// to five times the number of processes.
    ///
    /// A Postgres must be the writable primary. Its role needs SELECT on `api_keys` and `api_key_changes`, SELECT and UPDATE on
    /// `api_key_meta`, and SELECT, INSERT and UPDATE on `api_key_usage`; one that issues and changes keys also INSERT and UPDATE on
    /// `api_keys`. An SQLite file is switched to write-ahead logging, which stays with the file. It may be replaced by
    /// renaming another one over it, which is noticed; one that is overwritten in place is not supported.
    #[cfg(feature = "_diesel")]
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.store = StoreSetting::Url(url.into());
        self
    }

    /// Keeps keys in the Postgres that this pool of the application's leads to, in place of [`database_url`](Self::database_url).
    ///
    /// A connection is borrowed for each batch of look-ups and each read of the changes, and never held: a pool of `max_size(1)` serves
    /// the application and this. What that costs:
    ///
    /// - Nothing wakes this process when a key changes: it asks several times within `max_staleness`, so a revocation is in force within
    ///   that and not within milliseconds. [`listen_url`](Self::listen_url) has both.
    /// - How soon a database that was away is asked again, and how long a dead connection goes unnoticed, are the pool's to say. A
    ///   `connection_timeout` of a second is advised; starting warns of a longer one.
    /// - While the application holds every connection, keys cannot be looked up: after a second those who wait are answered 503.
    ///   Administration waits for as long as the pool does. So never call it while you hold the only connection; a key that belongs to
    ///   your transaction is issued by `Admin::issue_within`.
    /// - Behind a transaction pooler such as `PgBouncer`, prepared statements have to be switched off by a `connection_customizer`:
    ///   `connection.set_prepared_statement_cache_size(CacheSize::Disabled)`. On our own connections they are.
    ///
    #[cfg_attr(feature = "_diesel", doc = "```no_run")]
    /// use std::time::Duration;
    ///
    /// use api_key_runtime::AppKeys;
    /// use diesel::{PgConnection, r2d2::{ConnectionManager, Pool}};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = ConnectionManager::<PgConnection>::new("postgres://shop@pooler.example/shop");
    /// let pool = Pool::builder().connection_timeout(Duration::from_secs(1)).build(manager)?;
    /// let keys = AppKeys::builder()
    ///     .postgres_pool(pool.clone())
    ///     .listen_url("postgres://shop@db.example/shop")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "postgres")]
    pub fn postgres_pool(mut self, pool: Pool<ConnectionManager<diesel::PgConnection>>) -> Self {
        self.store = StoreSetting::PostgresPool(pool);
        self
    }

    /// Keeps keys in the SQLite file that this pool of the application's leads to, in place of [`database_url`](Self::database_url).
    ///
    /// A connection is borrowed for each batch of look-ups and each read of the changes, and never held: a pool of `max_size(1)` serves
    /// the application and this. The file is switched to write-ahead logging, which stays with it. Administration waits for other writers
    /// and is durable, whatever the settings of the pool's connections are, and leaves them as they were; set a `busy_timeout`,
    /// `foreign_keys` and `recursive_triggers` by a `connection_customizer` for what the application writes itself. What it costs:
    ///
    /// - A change by another process is seen within `max_staleness`, and not within milliseconds.
    /// - Nobody can tell which file a borrowed connection still has open: once the file is replaced or deleted, keys are answered 503
    ///   until the process is started anew. One that is overwritten in place is not noticed.
    /// - Waiting and recovery are the pool's, as with `postgres_pool`.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_pool(mut self, pool: Pool<ConnectionManager<diesel::SqliteConnection>>) -> Self {
        self.store = StoreSetting::SqlitePool(pool);
        self
    }

    /// Hears of changes over a direct connection to this URL, where keys are looked up through a connection pooler or a pool of the
    /// application's: of the same Postgres and database, which is checked. Neither lets a change through by itself.
    #[cfg(feature = "postgres")]
    pub fn listen_url(mut self, url: impl Into<String>) -> Self {
        self.listen_url = Some(secret(url.into()));
        self
    }

    /// Keeps keys in a store of your own.
    pub fn store(mut self, store: impl KeyStore) -> Self {
        self.store = StoreSetting::Own(Arc::new(store));
        self
    }

    /// The literal text every native key begins with; `ak_live_` by default. Up to 11 characters keep a key in one block of SHA-256.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Digests keys with HMAC-SHA-256 under this pepper: 32 bytes or more, in base64. Whoever copies the table without the pepper
    /// cannot even tell whether a key is in it.
    pub fn pepper(mut self, pepper: impl Into<String>) -> Self {
        self.pepper = Some(secret(pepper.into()));
        self
    }

    /// The pepper that was in use before, or `none` for none: its keys go on working while the pepper is changed.
    ///
    /// To change the pepper of several processes: first start all of them with the old one as the pepper and the new one as the previous
    /// one, so that each knows the keys of both; then start all with the two exchanged. What was issued under a pepper that is
    /// configured as neither is unknown; starting warns of how many keys that are.
    pub fn previous_pepper(mut self, pepper: impl Into<String>) -> Self {
        self.previous_pepper = Some(secret(pepper.into()));
        self
    }

    /// Accepts keys of other forms than the native one, which were imported or issued as UUIDs.
    pub fn accept_imported_keys(mut self) -> Self {
        self.accept_imported = true;
        self
    }

    /// Where a key may be presented, instead of `Authorization: Bearer` and `X-API-Key`.
    pub fn sources(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        self.sources = Some(sources.into_iter().collect());
        self
    }

    /// The addresses of the proxies in front of this service: addresses and CIDR blocks, or `unix` for a listener on a Unix socket.
    ///
    /// Only what such a proxy adds to its header is believed; without any, the caller is the peer of the connection and every
    /// forwarding header is ignored. Name the proxies' own addresses, not the network they stand in.
    ///
    /// Say `unix` only where every listener of the application is a Unix socket: a caller over TCP who resets the connection at once has
    /// no address either.
    pub fn trusted_proxies<P: Into<String>>(
        mut self,
        proxies: impl IntoIterator<Item = P>,
    ) -> Self {
        self.trusted_proxies = proxies.into_iter().map(Into::into).collect();
        self
    }

    /// The one header that the trusted proxies append the caller's address to; `X-Forwarded-For` by default.
    pub fn forwarded_header(mut self, name: impl Into<String>) -> Self {
        self.forwarded_header = Some(name.into());
        self
    }

    /// The bodies of refusals in the application's own dialect, with their content type, instead of problem details (RFC 9457).
    ///
    /// It is called once for each class, before any request comes: status, headers and what tells two refusals apart stay ours.
    ///
    /// ```
    /// use api_key_runtime::AppKeys;
    ///
    /// let builder = AppKeys::builder()
    ///     .refusal_body(|class| ("application/json", format!(r#"{{"status":"fail","data":{{"key":"{class}"}}}}"#)));
    /// ```
    pub fn refusal_body<C: Into<String>, B: Into<web::Bytes>>(
        mut self,
        body: impl FnMut(RefusalClass) -> (C, B),
    ) -> Self {
        self.bodies = Bodies::make(body);
        self
    }

    /// The realm that the challenge of a 401 names (RFC 9110, section 11.5); `api` by default.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// How long a request waits for its key to be looked up before it is answered 503; one second by default.
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = Some(timeout);
        self
    }

    /// How long a key may be used by what was last known of it; one second by default.
    ///
    /// It is the bound for a revocation to reach every process, whatever happens to the database and to the network in between; usually it
    /// takes milliseconds. Of a store that does not tell its changes, each key is asked for again when it was read this long ago. Zero
    /// asks the store for every request.
    pub fn max_staleness(mut self, bound: Duration) -> Self {
        self.max_staleness = Some(bound);
        self
    }

    /// While the store is away, lets keys that have not expired pass until this long after they were last known to be good
    /// (the idea of RFC 5861, section 4). Off by default: then they are answered 503 once `max_staleness` has passed.
    ///
    /// A key that is revoked while a process cannot reach the store goes on working there for as long.
    pub fn stale_if_error(mut self, bound: Duration) -> Self {
        self.stale_if_error = bound;
        self
    }

    /// How many keys are cached at most; 250 000 by default. Each takes a few hundred bytes once it is used.
    pub fn cache_capacity(mut self, keys: usize) -> Self {
        self.cache_capacity = Some(keys);
        self
    }

    /// How often uses of keys are recorded: when a key was used last, from where and how often. Every ten seconds by default; zero
    /// records none.
    ///
    /// It is what a process that is killed loses at most. One that ends records the rest: see [`AppKeys::shutdown`].
    pub fn usage_interval(mut self, interval: Duration) -> Self {
        self.usage_interval = Some(interval);
        self
    }

    /// Judges expiry by this clock.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: TestClock) -> Self {
        self.clock = Clock::Test(clock);
        self
    }

    /// Checks every setting and the database, and starts the threads that look keys up and record their uses.
    ///
    /// It blocks while it connects: call it before the server runs.
    ///
    /// # Errors
    /// When a setting is unusable, the database is away, its tables are missing, incompatible or without their triggers, its keys are
    /// under another pepper, or a thread cannot be started.
    pub fn build(self) -> Result<AppKeys, Error> {
        let sources = self
            .sources
            .clone()
            .unwrap_or_else(|| vec![Source::bearer(), Source::header("X-API-Key")]);
        let sources = Sources::check(&sources)?;
        let realm = self.realm.as_deref().unwrap_or(DEFAULT_REALM);
        let responses = Responses::new(realm, &sources.header_fields(), self.bodies.clone())?;
        let callers = Callers::check(&self.trusted_proxies, self.forwarded_header.as_deref())?;
        let (form, digester) = self.form_and_digester()?;
        let timeout = self.lookup_timeout.unwrap_or(DEFAULT_LOOKUP_TIMEOUT);
        if timeout.is_zero() {
            return Err(Error::setting(
                "the look-up timeout is zero, so every request would be refused",
            ));
        }
        let cache = Arc::new(Cache::new(
            self.bounds()?,
            self.cache_capacity.unwrap_or(DEFAULT_CACHE_CAPACITY).max(1),
            digester.previous_key().is_some(),
        ));
        #[cfg(feature = "_diesel")]
        let database = self.store.database()?;
        #[cfg(feature = "_diesel")]
        let listen = self.listen_database(database.as_ref())?;
        #[cfg(feature = "_diesel")]
        let admin = database.as_ref().map(|database| {
            crate::Admin::new(
                database.clone(),
                form.clone(),
                digester.clone(),
                self.clock.clone(),
            )
            .forgetting_in(Arc::clone(&cache))
        });
        let store = match self.store {
            StoreSetting::Own(store) => Some(store),
            _ => None,
        };
        #[cfg(feature = "_diesel")]
        let store = match &database {
            Some(database) => {
                let store = DieselStore::connect(database, listen.as_ref(), &digester)?;
                Some(Arc::new(store) as Arc<dyn KeyStore>)
            }
            None => store,
        };
        let store = store.ok_or_else(|| {
            Error::setting(
                "no key store is named: call AppKeysBuilder::database_url or AppKeysBuilder::store",
            )
        })?;
        let usage = match self.usage_interval.unwrap_or(usage::DEFAULT_INTERVAL) {
            Duration::ZERO => None,
            interval => Some(Usage::start(
                Arc::clone(&store),
                self.clock.clone(),
                interval,
            )?),
        };
        let availability = Arc::new(Availability::new(patience(timeout)));
        let lookups = Arc::new(Lookups::start(
            Arc::clone(&store),
            digester.clone(),
            Arc::clone(&cache),
            Arc::clone(&availability),
            timeout,
        )?);
        let feed = Feed::start(
            store,
            Arc::clone(&cache),
            availability,
            timeout,
            Arc::downgrade(&lookups),
        )?;
        Ok(AppKeys {
            inner: Arc::new(Inner {
                number: SetNumber::next(),
                sources,
                form,
                digester,
                cache,
                lookups,
                feed,
                usage,
                responses,
                callers,
                refusal_log: RefusalLog::default(),
                clock: self.clock,
                #[cfg(feature = "_diesel")]
                admin,
            }),
        })
    }

    /// Issues, lists and changes keys without serving any: what the command does.
    ///
    /// # Errors
    /// When a setting is unusable, or the keys are not in a database.
    #[cfg(feature = "_diesel")]
    pub fn build_admin(self) -> Result<crate::Admin, Error> {
        let (form, digester) = self.form_and_digester()?;
        match self.store.database()? {
            Some(database) => Ok(crate::Admin::new(database, form, digester, self.clock)),
            None => Err(Error::setting(
                "no database is named: call AppKeysBuilder::database_url",
            )),
        }
    }

    /// Where changes are heard of, if not where keys are looked up.
    #[cfg(feature = "_diesel")]
    fn listen_database(&self, keys: Option<&Database>) -> Result<Option<Database>, Error> {
        let Some(url) = &self.listen_url else {
            return Ok(None);
        };
        let listen = Database::parse(&url.0)?;
        if listen.is_postgres() && keys.is_some_and(Database::is_postgres) {
            return Ok(Some(listen));
        }
        Err(Error::setting(
            "listen_url is for keys in a Postgres, and names that Postgres by a URL",
        ))
    }

    fn bounds(&self) -> Result<Bounds, Error> {
        let max_staleness = self.max_staleness.unwrap_or(DEFAULT_MAX_STALENESS);
        let stale_if_error = self.stale_if_error;
        if !stale_if_error.is_zero() && stale_if_error < max_staleness {
            return Err(Error::setting(format!(
                "stale_if_error is {stale_if_error:?} and shorter than max_staleness, {max_staleness:?}: while the store is away a key \
                 would pass for less long than while it answers; make it longer, or leave it out"
            )));
        }
        if !stale_if_error.is_zero() && max_staleness.is_zero() {
            return Err(Error::setting(
                "stale_if_error is set and max_staleness is zero, so that nothing is kept that could pass: set both, or leave \
                 stale_if_error out",
            ));
        }
        Ok(Bounds {
            max_staleness,
            stale_if_error,
        })
    }

    fn form_and_digester(&self) -> Result<(KeyForm, Digester), Error> {
        let prefix = self
            .prefix
            .as_deref()
            .map_or_else(|| Ok(Prefix::default()), Prefix::parse)?;
        let pepper = self.pepper.as_ref().map(|secret| secret.0.as_str());
        let previous = self
            .previous_pepper
            .as_ref()
            .map(|secret| secret.0.as_str());
        let digester = Digester::parse(pepper, previous)?;
        Ok((
            KeyForm {
                prefix,
                accept_imported: self.accept_imported,
            },
            digester,
        ))
    }
}

/// How long a store may leave every call unanswered until it counts as away: less than the deadline, so that those who come then are
/// refused at once, and by default no more than it takes until nothing cached is believed any longer.
fn patience(deadline: Duration) -> Duration {
    deadline.saturating_mul(5) / 8
}

/// A variable that is set. An empty one counts as unset, as deployment tools write those, but for a secret.
#[cfg(feature = "_diesel")]
fn variable(name: &str) -> Result<Option<String>, Error> {
    Ok(secret_variable(name)?.filter(|value| !value.is_empty()))
}

#[cfg(feature = "_diesel")]
fn secret_variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::setting(format!("{name} is not Unicode")))
        }
    }
}

fn secret(text: String) -> Secret {
    Secret(zeroize::Zeroizing::new(text))
}
