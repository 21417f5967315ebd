//! The settings, and what each of them is for.

use std::{sync::Arc, time::Duration};

use actix_web::web;
#[cfg(feature = "_diesel")]
use diesel::r2d2::{ConnectionManager, Pool};

#[cfg(feature = "test-util")]
use crate::clock::TestClock;
use crate::{
    clock::Clock,
    key::Secret,
    rejection::{Bodies, RejectionKind},
    request::KeyLocation,
    store::KeyStore,
};
#[cfg(feature = "_diesel")]
use crate::{error::Error, store::Database};

/// The settings of [`AppKeys`](crate::AppKeys). [`build`](Self::build) checks the values and
/// returns the keys.
///
/// Every setting with its default. [`env`](Self::env) reads the environment variables.
///
/// | keys | default | environment |
/// | --- | --- | --- |
/// | [`prefix`](Self::prefix) | `ak_live_` | `APP_KEY_PREFIX` |
/// | [`pepper`](Self::pepper) | none: plain SHA-256 | `APP_KEY_PEPPER` |
/// | [`previous_pepper`](Self::previous_pepper) | none | `APP_KEY_PEPPER_PREVIOUS` |
/// | [`accept_imported_keys`](Self::accept_imported_keys) | `false` | `APP_KEY_ACCEPT_IMPORTED` |
/// | [`key_locations`](Self::key_locations) | `Authorization: Bearer` and `X-API-Key` | |
/// | [`usage_flush_interval`](Self::usage_flush_interval) | 10 seconds | |
///
/// | cache and freshness | default | environment |
/// | --- | --- | --- |
/// | [`max_staleness`](Self::max_staleness) | 1 second | |
/// | [`stale_if_error`](Self::stale_if_error) | `None`: 503 | |
/// | [`lookup_timeout`](Self::lookup_timeout) | 1 second | |
/// | [`cache_capacity`](Self::cache_capacity) | 250 000 keys | |
///
/// | client IP | default | environment |
/// | --- | --- | --- |
/// | [`trusted_proxies`](Self::trusted_proxies) | none: the peer of the connection | `APP_KEY_TRUSTED_PROXIES` |
/// | [`trust_unix_socket`](Self::trust_unix_socket) | `false` | the word `unix` in `APP_KEY_TRUSTED_PROXIES` |
/// | [`forwarded_header`](Self::forwarded_header) | `X-Forwarded-For` | `APP_KEY_FORWARDED_HEADER` |
///
/// | responses | default | environment |
/// | --- | --- | --- |
/// | [`realm`](Self::realm) | `api` | |
/// | [`rejection_body`](Self::rejection_body) | problem details (RFC 9457) | |
///
/// | database, exactly one but for `listen_url` | default | environment |
/// | --- | --- | --- |
/// | `database_url` | none | `DATABASE_URL` |
/// | `postgres_pool`, `sqlite_pool` | none | |
/// | [`store`](Self::store) | none | |
/// | `listen_url` | none: over `database_url` | |
#[derive(Debug)]
#[must_use = "nothing happens until it is built"]
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
    /// The word `unix` in `APP_KEY_TRUSTED_PROXIES`; both setters of trusted proxies override it.
    pub(super) env_trusts_unix_socket: bool,
    pub(super) forwarded_header: Option<String>,
    pub(super) realm: String,
    pub(super) bodies: Bodies,
    pub(super) lookup_timeout: Duration,
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
            lookup_timeout: Duration::from_secs(1),
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
    /// The environment was asked, and has no `DATABASE_URL`.
    #[cfg(feature = "_diesel")]
    NotInEnv,
    #[cfg(feature = "_diesel")]
    Url(Secret),
    #[cfg(feature = "postgres")]
    PostgresPool(Pool<ConnectionManager<diesel::PgConnection>>),
    #[cfg(feature = "sqlite")]
    SqlitePool(Pool<ConnectionManager<diesel::SqliteConnection>>),
    /// One of those, which has been migrated.
    #[cfg(feature = "_diesel")]
    Migrated(Database),
    Own(Arc<dyn KeyStore>),
}

#[cfg(feature = "_diesel")]
impl StoreSetting {
    /// The database that keys are kept in, unless they are elsewhere.
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
    /// Keeps keys in this database: `postgres://..` or the path of an SQLite file.
    ///
    /// Recommended whatever the application itself uses to reach its database. Each process takes
    /// up to two connections of its own to look keys up (up to ten for a while when queries hang
    /// and their threads are replaced), one to hear of changes and one to record uses (up to five
    /// when those writes hang); one more for a moment when the feed is opened, and while keys are
    /// administered. So plan for four to five times the number of processes.
    ///
    /// A Postgres must be the writable primary. Its role needs SELECT on `api_keys` and
    /// `api_key_changes`, SELECT and UPDATE on `api_key_meta`, and SELECT, INSERT and UPDATE on
    /// `api_key_usage`; one that issues and changes keys also INSERT and UPDATE on `api_keys`. An
    /// SQLite file is switched to write-ahead logging, which stays with the file. The guide's
    /// chapter [`backups`](crate::guide::backups) says how to replace it.
    #[cfg(feature = "_diesel")]
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.store = StoreSetting::Url(Secret::new(url.into()));
        self
    }

    /// Keeps keys in the Postgres that this pool of the application's leads to, in place of
    /// [`database_url`](Self::database_url).
    ///
    /// A connection is borrowed for each batch of lookups and each read of the changes, and never
    /// held: a pool of `max_size(1)` serves the application and this. What that costs:
    ///
    /// - Nothing wakes this process when a key changes: it asks several times within
    ///   `max_staleness`, so a revocation is in force within that and not within milliseconds.
    ///   [`listen_url`](Self::listen_url) has both.
    /// - How soon a database that was away is asked again, and how long a dead connection goes
    ///   unnoticed, are the pool's to say. A `connection_timeout` of a second is advised; starting
    ///   warns of a longer one.
    /// - While the application holds every connection, keys cannot be looked up: after a second
    ///   those who wait are answered 503. Administration waits for as long as the pool does. So
    ///   never call it while you hold the only connection; a key that belongs to your transaction
    ///   is issued by `Admin::issue_in_transaction`.
    /// - Behind a transaction pooler such as `PgBouncer`, prepared statements have to be switched
    ///   off by a `connection_customizer`:
    ///   `connection.set_prepared_statement_cache_size(CacheSize::Disabled)`. On our own
    ///   connections they are.
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

    /// Keeps keys in the SQLite file that this pool of the application's leads to, in place of
    /// [`database_url`](Self::database_url).
    ///
    /// A connection is borrowed for each batch of lookups and each read of the changes, and never
    /// held: a pool of `max_size(1)` serves the application and this. The file is switched to
    /// write-ahead logging, which stays with it. Administration waits for other writers and is
    /// durable, whatever the settings of the pool's connections are, and leaves them as they were;
    /// set a `busy_timeout`, `foreign_keys` and `recursive_triggers` by a `connection_customizer`
    /// for what the application writes itself. What it costs:
    ///
    /// - A change by another process is seen within `max_staleness`, and not within milliseconds.
    /// - Nobody can tell which file a borrowed connection still has open: once the file is replaced
    ///   or deleted, keys are answered 503 until the process is started anew. One that is
    ///   overwritten in place is not noticed.
    /// - Waiting and recovery are the pool's, as with `postgres_pool`.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_pool(mut self, pool: Pool<ConnectionManager<diesel::SqliteConnection>>) -> Self {
        self.store = StoreSetting::SqlitePool(pool);
        self
    }

    /// Hears of changes over a direct connection to this URL, where keys are looked up through a
    /// connection pooler or a pool of the application's: of the same Postgres and database, which
    /// is checked. Neither lets a change through by itself.
    #[cfg(feature = "postgres")]
    pub fn listen_url(mut self, url: impl Into<String>) -> Self {
        self.listen_url = Some(Secret::new(url.into()));
        self
    }

    /// Keeps keys in a store of your own.
    pub fn store(mut self, store: impl KeyStore) -> Self {
        self.store = StoreSetting::Own(Arc::new(store));
        self
    }

    /// Sets the literal text that new native keys begin with. Up to 11 characters keep a key in one
    /// block of SHA-256.
    ///
    /// It is a lower-case letter, up to 19 more lower-case letters, digits or underscores, and an
    /// underscore at the end; anything else is an error of [`build`](Self::build). Defaults to
    /// `ak_live_`. Keys that were issued with another prefix go on working, because the table
    /// decides which keys are good. So a prefix does not keep two sets of keys in one table apart.
    ///
    /// ```
    /// let builder = api_key_runtime::AppKeys::builder().prefix("shop_live_");
    /// ```
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Digests keys with HMAC-SHA-256 under this pepper: 32 bytes or more, in base64. Whoever
    /// copies the table without the pepper cannot even tell whether a key is in it.
    pub fn pepper(mut self, pepper: impl Into<String>) -> Self {
        self.pepper = Some(Secret::new(pepper.into()));
        self
    }

    /// The pepper that was in use before, or `none` for none: its keys go on working while the
    /// pepper is changed.
    ///
    /// To change the pepper of several processes: first start all of them with the old one as the
    /// pepper and the new one as the previous one, so that each knows the keys of both; then start
    /// all with the two exchanged. What was issued under a pepper that is configured as neither is
    /// unknown; starting warns of how many keys that are.
    pub fn previous_pepper(mut self, pepper: impl Into<String>) -> Self {
        self.previous_pepper = Some(Secret::new(pepper.into()));
        self
    }

    /// Sets whether keys of other formats than the native one are accepted: imported keys, and keys
    /// issued as UUIDs.
    ///
    /// Defaults to `false`.
    pub fn accept_imported_keys(mut self, accept: bool) -> Self {
        self.accept_imported = accept;
        self
    }

    /// Where a key may be presented, instead of `Authorization: Bearer` and `X-API-Key`. The
    /// challenge of a 401 names the schemes.
    pub fn key_locations(mut self, key_locations: impl IntoIterator<Item = KeyLocation>) -> Self {
        self.key_locations = key_locations.into_iter().collect();
        self
    }

    /// Sets the IP addresses and CIDR blocks of the proxies in front of this service.
    ///
    /// Only the hops that a trusted proxy adds to its header are used. Without trusted proxies, the
    /// client IP is the peer of the connection and every forwarding header is ignored, which is the
    /// default. Name the proxies' own addresses, not the network they stand in.
    /// [`build`](Self::build) checks the addresses.
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
    /// Trust them only if every listener of the application is a Unix socket: a TCP connection that
    /// its client resets at once has no peer address either. In `APP_KEY_TRUSTED_PROXIES` the word
    /// `unix` does the same. Defaults to `false`.
    pub fn trust_unix_socket(mut self, trust: bool) -> Self {
        self.trust_unix_socket = trust;
        self.env_trusts_unix_socket = false;
        self
    }

    /// Sets the one header that the trusted proxies append the client IP to.
    ///
    /// Defaults to `X-Forwarded-For`.
    pub fn forwarded_header(mut self, name: impl Into<String>) -> Self {
        self.forwarded_header = Some(name.into());
        self
    }

    /// Sets the content type and the body of each kind of rejection.
    ///
    /// The function is called once for each kind, before any request. Status and headers stay the
    /// same. Defaults to [`RejectionKind::problem_json`].
    ///
    /// ```
    /// use api_key_runtime::AppKeys;
    ///
    /// let builder = AppKeys::builder()
    ///     .rejection_body(|kind| ("application/json", format!(r#"{{"status":"fail","data":{{"key":"{kind}"}}}}"#)));
    /// ```
    pub fn rejection_body<C: Into<String>, B: Into<web::Bytes>>(
        mut self,
        body: impl FnMut(RejectionKind) -> (C, B),
    ) -> Self {
        self.bodies = Bodies::make(body);
        self
    }

    /// The realm that the challenge of a 401 names (RFC 9110, section 11.5); `api` by default.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Sets how long a request waits for the lookup of its key before it is answered 503.
    ///
    /// Defaults to 1 second. Zero is an error of [`build`](Self::build).
    #[doc(alias = "deadline")]
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout;
        self
    }

    /// Sets how long a cached key may be used after it was last known to be current.
    ///
    /// Within this time a revocation reaches every process, whatever happens to the database and
    /// the network in between; usually it takes milliseconds. If a store cannot report changes,
    /// each key is read again after this time. Zero allows no staleness: each request queries the
    /// store. There is no way to switch the bound off. Defaults to 1 second.
    #[doc(alias = "ttl")]
    pub fn max_staleness(mut self, bound: Duration) -> Self {
        self.max_staleness = bound;
        self
    }

    /// Sets how long keys that have not expired are accepted from stale cache entries while the
    /// store is unavailable, counted from when each key was last known to be current (the idea of
    /// RFC 5861, section 4).
    ///
    /// A key that is revoked while a process cannot reach the store keeps working in that process
    /// for as long. `None` answers 503 once `max_staleness` has passed. Defaults to `None`. A time
    /// shorter than `max_staleness` is an error of [`build`](Self::build).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use api_key_runtime::AppKeys;
    ///
    /// let builder = AppKeys::builder().stale_if_error(Duration::from_secs(300));
    /// let builder = builder.stale_if_error(None); // off again
    /// ```
    pub fn stale_if_error(mut self, bound: impl Into<Option<Duration>>) -> Self {
        self.stale_if_error = bound.into();
        self
    }

    /// Sets how many keys are cached at most. Each cached key takes a few hundred bytes.
    ///
    /// Defaults to 250 000. Zero is an error of [`build`](Self::build);
    /// `max_staleness(Duration::ZERO)` switches caching off.
    #[doc(alias = "cache size")]
    pub fn cache_capacity(mut self, keys: usize) -> Self {
        self.cache_capacity = keys;
        self
    }

    /// Sets how often key usage is recorded: when a key was used last, from which IP address, and
    /// how often.
    ///
    /// A killed process loses at most one interval of counts;
    /// [`AppKeys::close`](crate::AppKeys::close) records the rest. `None` records nothing. Defaults
    /// to 10 seconds. Zero is an error of [`build`](Self::build).
    pub fn usage_flush_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.usage_flush_interval = interval.into();
        self
    }

    /// Judges expiry by this clock.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: TestClock) -> Self {
        self.clock = Clock::Test(clock);
        self
    }
}
