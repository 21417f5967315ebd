//! The settings of `AppKeys`.

use std::{sync::Arc, time::Duration};

use actix_web::web;
#[cfg(feature = "_diesel")]
use diesel::r2d2::{ConnectionManager, Pool};

#[cfg(feature = "test-util")]
use crate::clock::TestClock;
#[cfg(feature = "_diesel")]
use crate::store::Database;
use crate::{
    clock::Clock,
    error::Error,
    key::Secret,
    rejection::{Bodies, RejectionKind},
    request::KeyLocation,
    store::KeyStore,
};

/// The settings of [`AppKeys`](crate::AppKeys), made by
/// [`AppKeys::builder`](crate::AppKeys::builder).
///
/// [`build`](Self::build) checks all settings and returns the `AppKeys`. [`env`](Self::env) reads
/// the environment variables in the tables below.
///
/// ```
/// use std::time::Duration;
///
/// use api_key_runtime::{AppKeys, KeyLocation};
///
/// let builder = AppKeys::builder()
///     .prefix("shop_live_")
///     .key_locations([KeyLocation::bearer()])
///     .trusted_proxies(["10.0.0.7"])
///     .max_staleness(Duration::from_millis(500));
/// ```
///
/// # Settings
///
/// | storage: exactly one of the first four | default | environment |
/// | --- | --- | --- |
/// | [`database_url`](Self::database_url) | none | `DATABASE_URL` |
/// | [`postgres_pool`](Self::postgres_pool) | none | |
/// | [`sqlite_pool`](Self::sqlite_pool) | none | |
/// | [`store`](Self::store) | none | |
/// | [`listen_url`](Self::listen_url) | none: listens on the `database_url` | |
///
/// | keys | default | environment |
/// | --- | --- | --- |
/// | [`prefix`](Self::prefix) | `ak_live_` | `APP_KEY_PREFIX` |
/// | [`pepper`](Self::pepper) | none: plain SHA-256 | `APP_KEY_PEPPER`, `APP_KEY_PEPPER_FILE` |
/// | [`previous_pepper`](Self::previous_pepper) | none | `APP_KEY_PEPPER_PREVIOUS`, `APP_KEY_PEPPER_PREVIOUS_FILE` |
/// | [`accept_imported_keys`](Self::accept_imported_keys) | `false` | `APP_KEY_ACCEPT_IMPORTED` |
///
/// | request | default | environment |
/// | --- | --- | --- |
/// | [`key_locations`](Self::key_locations) | `Authorization: Bearer` and `X-API-Key` | |
/// | [`trusted_proxies`](Self::trusted_proxies) | none: the client IP is the TCP peer | `APP_KEY_TRUSTED_PROXIES` |
/// | [`trust_unix_socket`](Self::trust_unix_socket) | `false` | the word `unix` in `APP_KEY_TRUSTED_PROXIES` |
/// | [`forwarded_header`](Self::forwarded_header) | `X-Forwarded-For` | `APP_KEY_FORWARDED_HEADER` |
///
/// | freshness | default | environment |
/// | --- | --- | --- |
/// | [`max_staleness`](Self::max_staleness) | 1 second | |
/// | [`stale_if_error`](Self::stale_if_error) | `None`: 503 | |
///
/// | responses | default | environment |
/// | --- | --- | --- |
/// | [`realm`](Self::realm) | `api` | |
/// | [`rejection_body`](Self::rejection_body) | problem details (RFC 9457) | |
/// | [`expiry_header`](Self::expiry_header) | `false` | |
///
/// | limits and intervals | default | environment |
/// | --- | --- | --- |
/// | [`lookup_timeout`](Self::lookup_timeout) | 1 second | |
/// | [`cache_capacity`](Self::cache_capacity) | 250 000 keys | |
/// | [`usage_flush_interval`](Self::usage_flush_interval) | 10 seconds | |
/// | [`idle_timeout`](Self::idle_timeout) | 60 seconds | |
///
/// With the feature `test-util`, [`clock`](Self::clock) replaces the system clock in tests.
#[doc(alias = "config")]
#[doc(alias = "settings")]
#[derive(Debug)]
#[must_use = "nothing happens until it is built"]
#[expect(clippy::struct_excessive_bools, reason = "each setting is independent of the others")]
pub struct AppKeysBuilder {
    pub(super) store: StoreSetting,
    #[cfg(feature = "_diesel")]
    pub(super) listen_url: Option<Secret>,
    pub(super) prefix: Option<String>,
    pub(super) pepper: Option<Secret>,
    pub(super) previous_pepper: Option<Secret>,
    pub(super) accept_imported: bool,
    pub(super) key_locations: Vec<KeyLocation>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) trust_unix_socket: bool,
    /// Whether `APP_KEY_TRUSTED_PROXIES` contains the word `unix`. Both `trusted_proxies` and
    /// `trust_unix_socket` reset this value.
    pub(super) env_trusts_unix_socket: bool,
    pub(super) forwarded_header: Option<String>,
    pub(super) realm: String,
    pub(super) bodies: Bodies,
    pub(super) expiry_header: bool,
    pub(super) lookup_timeout: Duration,
    #[cfg(feature = "_diesel")]
    pub(super) idle_timeout: Duration,
    pub(super) max_staleness: Duration,
    pub(super) stale_if_error: Option<Duration>,
    pub(super) cache_capacity: usize,
    pub(super) usage_flush_interval: Option<Duration>,
    pub(super) clock: Clock,
}

impl Default for AppKeysBuilder {
    fn default() -> Self {
        Self {
            store: StoreSetting::None,
            #[cfg(feature = "_diesel")]
            listen_url: None,
            prefix: None,
            pepper: None,
            previous_pepper: None,
            accept_imported: false,
            key_locations: vec![KeyLocation::bearer(), KeyLocation::header("X-API-Key")],
            trusted_proxies: Vec::new(),
            trust_unix_socket: false,
            env_trusts_unix_socket: false,
            forwarded_header: None,
            realm: "api".to_owned(),
            bodies: Bodies::default(),
            expiry_header: false,
            lookup_timeout: Duration::from_secs(1),
            #[cfg(feature = "_diesel")]
            idle_timeout: crate::store::IDLE_TIMEOUT,
            max_staleness: Duration::from_secs(1),
            stale_if_error: None,
            cache_capacity: 250_000,
            usage_flush_interval: Some(Duration::from_secs(10)),
            clock: Clock::default(),
        }
    }
}

pub(super) enum StoreSetting {
    None,
    /// The environment was read, but does not set `DATABASE_URL`.
    #[cfg(feature = "_diesel")]
    NotInEnv,
    #[cfg(feature = "_diesel")]
    Url(Secret),
    #[cfg(feature = "postgres")]
    PostgresPool(Pool<ConnectionManager<diesel::PgConnection>>),
    #[cfg(feature = "sqlite")]
    SqlitePool(Pool<ConnectionManager<diesel::SqliteConnection>>),
    /// The database of a URL or a pool, after its migrations have run.
    #[cfg(feature = "_diesel")]
    Migrated(Database),
    Own(Arc<dyn KeyStore>),
}

#[cfg(feature = "_diesel")]
impl StoreSetting {
    /// Returns the configured database. Returns `None` if the application has its own store, or if
    /// no store is configured.
    pub(super) fn database(&self) -> Result<Option<Database>, Error> {
        Ok(match self {
            Self::Url(url) => Some(Database::parse(url.as_str())?),
            #[cfg(feature = "postgres")]
            Self::PostgresPool(pool) => Some(Database::postgres_pool(pool.clone())),
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(pool) => Some(Database::sqlite_pool(pool.clone())?),
            Self::Migrated(database) => Some(database.clone()),
            Self::NotInEnv => {
                return Err(Error::config(
                    "DATABASE_URL is not set: set it to postgres://USER@HOST/DATABASE or to the path of an SQLite file",
                ));
            }
            Self::None | Self::Own(_) => None,
        })
    }
}

impl std::fmt::Debug for StoreSetting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            #[cfg(feature = "_diesel")]
            Self::NotInEnv => "NotInEnv",
            #[cfg(feature = "_diesel")]
            Self::Url(_) => "Url(..)",
            #[cfg(feature = "postgres")]
            Self::PostgresPool(_) => "PostgresPool(..)",
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(_) => "SqlitePool(..)",
            #[cfg(feature = "_diesel")]
            Self::Migrated(_) => "Migrated(..)",
            Self::Own(_) => "Own(..)",
        })
    }
}

impl AppKeysBuilder {
    /// Stores keys in this database: `postgres://..`, or the path of an SQLite file.
    ///
    /// This setting is recommended even if the application has its own connections to the same
    /// database. Each process then opens these connections:
    ///
    /// - to look up keys: up to 2, and temporarily up to 10 when queries hang and their threads are
    ///   replaced;
    /// - to read changes: 1, and briefly 1 more when the change feed is opened;
    /// - to record usage: 1, and up to 5 when these writes hang;
    /// - to administer keys: 1 during each call.
    ///
    /// Plan for 4 to 5 connections for each process.
    ///
    /// On Postgres, the URL must lead to the writable primary. The role of a service needs these
    /// privileges:
    ///
    /// - SELECT on `api_keys` and `api_key_changes`;
    /// - SELECT and UPDATE on `api_key_meta`;
    /// - SELECT, INSERT and UPDATE on `api_key_usage`.
    ///
    /// A role that issues and changes keys also needs INSERT and UPDATE on `api_keys`.
    ///
    /// An SQLite file is switched to write-ahead logging, and stays in this mode. The guide's
    /// chapter [`backups`](crate::guide::backups) describes how to restore such a file.
    ///
    /// ```no_run
    /// use api_key_runtime::AppKeys;
    ///
    /// # fn main() -> Result<(), api_key_runtime::Error> {
    /// let keys = AppKeys::builder().database_url("postgres://shop@db.example/shop").build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "postgres")]
    #[doc(alias = "sqlite")]
    #[cfg(feature = "_diesel")]
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.store = StoreSetting::Url(Secret::new(url.into()));
        self
    }

    /// Stores keys in the Postgres database of this connection pool, instead of
    /// [`database_url`](Self::database_url).
    ///
    /// This crate borrows a connection for each batch of lookups, each read of changes and each
    /// recording of usage, and then returns the connection. So a pool of `max_size(1)` is enough
    /// for the application and this crate together. Compared with `database_url`:
    ///
    /// - The database does not notify this process when a key changes. The process polls several
    ///   times within `max_staleness`, so a revocation takes effect within `max_staleness` instead
    ///   of within milliseconds. Set [`listen_url`](Self::listen_url) to receive notifications as
    ///   well.
    /// - The pool's settings determine how soon an unavailable database is tried again, and how
    ///   long a dead connection goes unnoticed. Set the pool's `connection_timeout` to 1 second;
    ///   [`build`](Self::build) logs a warning if the timeout is longer.
    /// - While the application holds every connection, keys cannot be looked up, and waiting
    ///   requests are answered 503 after [`lookup_timeout`](Self::lookup_timeout). Calls to `Admin`
    ///   wait until the pool returns a connection or an error. So do not call `Admin` while you
    ///   hold the only connection. To issue a key within your own transaction, call
    ///   `Admin::issue_in_transaction`.
    /// - Behind a transaction pooler such as `PgBouncer`, disable prepared statements in a
    ///   `connection_customizer`:
    ///   `connection.set_prepared_statement_cache_size(CacheSize::Disabled)`. Connections of
    ///   `database_url` do not use prepared statements.
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
    #[doc(alias = "r2d2")]
    #[cfg(feature = "postgres")]
    pub fn postgres_pool(mut self, pool: Pool<ConnectionManager<diesel::PgConnection>>) -> Self {
        self.store = StoreSetting::PostgresPool(pool);
        self
    }

    /// Stores keys in the SQLite file of this connection pool, instead of
    /// [`database_url`](Self::database_url).
    ///
    /// This crate borrows a connection for each batch of lookups, each read of changes and each
    /// recording of usage, and then returns the connection. So a pool of `max_size(1)` is enough
    /// for the application and this crate together. The file is switched to write-ahead logging,
    /// and stays in this mode.
    ///
    /// Calls to `Admin` wait for other writers and are durable, regardless of the settings of the
    /// pool's connections. After a call, the settings of the connection are restored. For the
    /// application's own writes, set a `busy_timeout`, `foreign_keys` and `recursive_triggers` in a
    /// `connection_customizer`.
    ///
    /// Compared with `database_url`:
    ///
    /// - A change by another process or by plain SQL takes effect within `max_staleness` instead of
    ///   within milliseconds.
    /// - A borrowed connection does not reveal which file it has open. Once the file is replaced or
    ///   deleted, requests are answered 503 until the process is restarted. If a file is
    ///   overwritten in place, the process does not notice the change.
    /// - As with `postgres_pool`, the pool's settings determine how long a call waits for a
    ///   connection, and when a lost connection is reopened.
    #[doc(alias = "r2d2")]
    #[cfg(feature = "sqlite")]
    pub fn sqlite_pool(mut self, pool: Pool<ConnectionManager<diesel::SqliteConnection>>) -> Self {
        self.store = StoreSetting::SqlitePool(pool);
        self
    }

    /// Sets the URL of a direct connection that receives change notifications.
    ///
    /// Set this URL if `database_url` leads to a pooler such as `PgBouncer`, or if the application
    /// sets a [`postgres_pool`](Self::postgres_pool). Neither the pooler nor the pool delivers
    /// notifications. The URL must point to the Postgres server and database of the keys;
    /// [`build`](Self::build) checks this. Defaults to none: with `database_url`, notifications
    /// arrive over a connection to `database_url`.
    #[doc(alias = "notify")]
    #[doc(alias = "pgbouncer")]
    #[cfg(feature = "postgres")]
    pub fn listen_url(mut self, url: impl Into<String>) -> Self {
        self.listen_url = Some(Secret::new(url.into()));
        self
    }

    /// Stores keys in your own [`KeyStore`](crate::store::KeyStore).
    #[doc(alias = "backend")]
    pub fn store(mut self, store: impl KeyStore) -> Self {
        self.store = StoreSetting::Own(Arc::new(store));
        self
    }

    /// Sets the literal text that new native keys begin with.
    ///
    /// A prefix consists of a lower-case letter, then up to 19 lower-case letters, digits or
    /// underscores, then an underscore. Any other text is an error of [`build`](Self::build). If
    /// the prefix has up to 11 characters, a key fits into one SHA-256 block and is hashed faster.
    /// Defaults to `ak_live_`.
    ///
    /// Keys that were issued with another prefix keep working, because a key in the table is valid
    /// regardless of its prefix. So a prefix does not separate two sets of keys in one table.
    ///
    /// ```
    /// let builder = api_key_runtime::AppKeys::builder().prefix("shop_live_");
    /// ```
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Returns a regular expression that matches native keys with the prefix of these settings, for
    /// secret scanners. The expression does not check the checksum, so it also matches mistyped
    /// keys. [`KeyScanner`](crate::admin::KeyScanner) also checks the checksum.
    ///
    /// ```
    /// let pattern = api_key_runtime::AppKeys::builder().prefix("shop_").key_pattern()?;
    /// assert_eq!(pattern, "shop_[0-9A-Za-z]{44}");
    /// # Ok::<(), api_key_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the prefix is invalid.
    #[doc(alias = "regex")]
    pub fn key_pattern(&self) -> Result<String, Error> {
        Ok(self.checked_prefix()?.pattern())
    }

    /// Sets the pepper: the secret for the HMAC-SHA-256 digests of keys. The pepper has at least 32
    /// bytes, encoded in base64.
    ///
    /// With a pepper, an attacker who has only a copy of the table cannot test whether a key is
    /// valid. Defaults to none: keys are digested with plain SHA-256.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pepper = std::fs::read_to_string("/run/secrets/pepper")?;
    /// let builder = api_key_runtime::AppKeys::builder().pepper(pepper.trim());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "hmac")]
    #[doc(alias = "salt")]
    pub fn pepper(mut self, pepper: impl Into<String>) -> Self {
        self.pepper = Some(Secret::new(pepper.into()));
        self
    }

    /// Sets the previous pepper. Pass the text `none` if no pepper was used before. Keys that were
    /// issued under the previous pepper, or without a pepper in the case of `none`, keep working.
    /// Defaults to no previous pepper.
    ///
    /// To change the pepper of several processes, restart all of them twice:
    ///
    /// 1. Restart with the old pepper as `pepper` and the new pepper as `previous_pepper`. Then
    ///    each process accepts keys that were issued under either pepper.
    /// 2. Restart with the two values swapped.
    ///
    /// Keys that were issued under any other pepper are rejected as unknown. [`build`](Self::build)
    /// logs a warning with the number of such keys.
    #[doc(alias = "rotate")]
    pub fn previous_pepper(mut self, pepper: impl Into<String>) -> Self {
        self.previous_pepper = Some(Secret::new(pepper.into()));
        self
    }

    /// Sets whether keys in formats other than the native format are accepted: imported keys, and
    /// keys that were issued as UUIDs.
    ///
    /// Defaults to `false`.
    #[doc(alias = "import")]
    #[doc(alias = "uuid")]
    pub fn accept_imported_keys(mut self, accept: bool) -> Self {
        self.accept_imported = accept;
        self
    }

    /// Sets where a request may carry its key. This replaces the default, `Authorization: Bearer`
    /// and `X-API-Key`.
    ///
    /// The challenge of a 401 response names the authentication schemes of these locations.
    ///
    /// ```
    /// use api_key_runtime::{AppKeys, KeyLocation};
    ///
    /// let builder = AppKeys::builder()
    ///     .key_locations([KeyLocation::bearer(), KeyLocation::header("X-Shop-Key")]);
    /// ```
    #[doc(alias = "authorization")]
    #[doc(alias = "bearer")]
    #[doc(alias = "cookie")]
    #[doc(alias = "header")]
    #[doc(alias = "query")]
    pub fn key_locations(mut self, key_locations: impl IntoIterator<Item = KeyLocation>) -> Self {
        self.key_locations = key_locations.into_iter().collect();
        self
    }

    /// Sets the IP addresses and CIDR blocks of the proxies in front of this service.
    ///
    /// The client IP is taken only from entries that a trusted proxy has added to the forwarding
    /// header. Name the addresses of the proxies themselves, not the network that contains the
    /// proxies. [`build`](Self::build) checks the addresses. Defaults to none: the client IP is the
    /// TCP peer, and forwarding headers are ignored.
    ///
    /// ```
    /// let builder = api_key_runtime::AppKeys::builder().trusted_proxies(["10.0.0.7"]);
    /// ```
    #[doc(alias = "proxy")]
    #[doc(alias = "x-forwarded-for")]
    pub fn trusted_proxies<P: Into<String>>(
        mut self,
        proxies: impl IntoIterator<Item = P>,
    ) -> Self {
        self.trusted_proxies = proxies.into_iter().map(Into::into).collect();
        self.env_trusts_unix_socket = false;
        self
    }

    /// Sets whether the peers of a listener on a Unix socket are trusted as proxies.
    ///
    /// Trust these peers only if every listener of the application is a Unix socket: a TCP
    /// connection that its client resets at once does not have a peer address either. The word
    /// `unix` in `APP_KEY_TRUSTED_PROXIES` sets the same option. Defaults to `false`.
    pub fn trust_unix_socket(mut self, trust: bool) -> Self {
        self.trust_unix_socket = trust;
        self.env_trusts_unix_socket = false;
        self
    }

    /// Sets the header in which the trusted proxies report the client IP. Other forwarding headers
    /// are ignored.
    ///
    /// Defaults to `X-Forwarded-For`.
    #[doc(alias = "x-real-ip")]
    pub fn forwarded_header(mut self, name: impl Into<String>) -> Self {
        self.forwarded_header = Some(name.into());
        self
    }

    /// Sets the content type and the body of each kind of rejection.
    ///
    /// The function is called immediately, once for each kind. The status and the other
    /// headers do not change. Defaults to [`RejectionKind::problem_json`].
    ///
    /// ```
    /// use api_key_runtime::AppKeys;
    ///
    /// let builder = AppKeys::builder().rejection_body(|kind| {
    ///     ("application/json", format!(r#"{{"status":"fail","data":{{"key":"{kind}"}}}}"#))
    /// });
    /// ```
    #[doc(alias = "error")]
    #[doc(alias = "unauthorized")]
    pub fn rejection_body<C: Into<String>, B: Into<web::Bytes>>(
        mut self,
        body: impl FnMut(RejectionKind) -> (C, B),
    ) -> Self {
        self.bodies = Bodies::make(body);
        self
    }

    /// Sets the realm in the challenge of a 401 (RFC 9110, section 11.5). Defaults to `api`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Sets whether responses to accepted requests have the header `X-API-Key-Expires`, which shows
    /// the caller when its key expires. If the key does not expire, the header is left out.
    ///
    /// The value is an HTTP date (RFC 9110, section 5.6.7): `Sun, 06 Nov 2033 08:49:37 GMT`. No
    /// standard defines such a header: `GitHub-Authentication-Token-Expiration` has the same
    /// purpose, and `Sunset` (RFC 8594) applies to a resource. For scripts in browsers, name the
    /// header in `Access-Control-Expose-Headers`. Defaults to `false`.
    ///
    /// ```
    /// let builder = api_key_runtime::AppKeys::builder().expiry_header(true);
    /// ```
    pub fn expiry_header(mut self, show: bool) -> Self {
        self.expiry_header = show;
        self
    }

    /// Sets how long a request waits for the lookup of its key. After this time the request is
    /// answered 503.
    ///
    /// Defaults to 1 second. Zero is an error of [`build`](Self::build).
    #[doc(alias = "deadline")]
    #[doc(alias = "timeout")]
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout;
        self
    }

    /// Sets how long a cached key may be used after it was last known to be current.
    ///
    /// A revocation reaches every process within this time, whatever fails in the database or the
    /// network, unless [`stale_if_error`](Self::stale_if_error) is set. Usually, a revocation takes
    /// effect within milliseconds. If a store cannot report changes, each key is read again after
    /// this time. Zero switches caching off: each request queries the store. Defaults to 1 second.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let builder = api_key_runtime::AppKeys::builder().max_staleness(Duration::from_millis(250));
    /// ```
    #[doc(alias = "cache")]
    #[doc(alias = "ttl")]
    pub fn max_staleness(mut self, bound: Duration) -> Self {
        self.max_staleness = bound;
        self
    }

    /// Sets how long keys are accepted from stale cache entries while the store is unavailable.
    ///
    /// The time begins when the key was last known to be current, so it includes `max_staleness`.
    /// (In RFC 5861, section 4, the time begins when an entry becomes stale.) Expired keys are
    /// rejected in any case.
    ///
    /// A key that is revoked while a process cannot reach the store keeps working in that process
    /// for up to this time. With `None`, requests during an outage of the store are answered 503
    /// once `max_staleness` has passed. A time shorter than `max_staleness` is an error of
    /// [`build`](Self::build). Defaults to `None`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use api_key_runtime::AppKeys;
    ///
    /// let builder = AppKeys::builder().stale_if_error(Duration::from_secs(300));
    /// let builder = builder.stale_if_error(None); // off again
    /// ```
    #[doc(alias = "outage")]
    pub fn stale_if_error(mut self, bound: impl Into<Option<Duration>>) -> Self {
        self.stale_if_error = bound.into();
        self
    }

    /// Sets the maximum number of cached keys. Each cached key takes a few hundred bytes. The cache
    /// begins to evict keys shortly before it is full, so choose a tenth more than the number of
    /// keys in use.
    ///
    /// Defaults to 250 000. Zero is an error of [`build`](Self::build);
    /// `max_staleness(Duration::ZERO)` switches caching off.
    #[doc(alias = "cache size")]
    pub fn cache_capacity(mut self, keys: usize) -> Self {
        self.cache_capacity = keys;
        self
    }

    /// Sets how often key usage is recorded: for each key, the time and client IP of the last use,
    /// and the number of uses.
    ///
    /// A killed process loses the counts since the last recording. Before a process ends,
    /// [`AppKeys::close`](crate::AppKeys::close) records these counts. With `None`, no usage is
    /// recorded. Zero is an error of [`build`](Self::build). Defaults to 10 seconds.
    #[doc(alias = "last used")]
    pub fn usage_flush_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.usage_flush_interval = interval.into();
        self
    }

    /// Sets how long an unused connection for lookups or usage stays open. The connection of the
    /// change feed always stays open.
    ///
    /// So an idle process has one connection. The next lookup opens a connection again, which
    /// usually takes a few milliseconds. A connection that took longer than a quarter of a second
    /// to open stays open, because opening it again could exceed `lookup_timeout`. Firewalls and
    /// load balancers drop idle connections silently, so choose a time shorter than their idle
    /// timeout. This setting has no effect on connections of your own pool. Defaults to 60 seconds.
    #[cfg(feature = "_diesel")]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets the clock for the expiry of keys in tests. Defaults to the system clock.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: TestClock) -> Self {
        self.clock = Clock::Test(clock);
        self
    }
}
