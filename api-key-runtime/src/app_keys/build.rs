//! Builds `AppKeys`: checks every setting, then connects to the database, then starts the threads.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "_diesel")]
use super::equal_sets::LiveSet;
use super::{AppKeys, AppKeysBuilder, Inner, KeySetId, builder::StoreSetting, close::Closing};
#[cfg(feature = "_diesel")]
use crate::{
    cache::process,
    store::{Database, DieselStore},
};
use crate::{
    cache::{Bounds, Cache},
    change_feed::FeedThread,
    circuit_breaker::CircuitBreaker,
    error::Error,
    key::{Digester, FormatRules, Prefix, Secret},
    lookup::Lookups,
    metrics::Counters,
    rejection::{RejectionLog, Responses},
    request::{KeyLocations, TrustedProxies},
    store::KeyStore,
    supervisor::Supervisor,
    usage::Usage,
    workers::Workers,
};

/// The checked settings.
struct Checked {
    key_locations: KeyLocations,
    responses: Responses,
    trusted_proxies: TrustedProxies,
    format_rules: FormatRules,
    digester: Digester,
    bounds: Bounds,
}

/// The store of the keys, and the database if the keys are in a database.
struct Connected {
    store: Arc<dyn KeyStore>,
    #[cfg(feature = "_diesel")]
    database: Option<Database>,
}

impl AppKeysBuilder {
    /// Checks every setting and the database, then starts the threads that look keys up, read
    /// changes and record usage.
    ///
    /// This method blocks while it connects to the database, so call it before the server runs.
    ///
    /// ```no_run
    /// use api_key_runtime::AppKeys;
    ///
    /// # fn main() -> Result<(), api_key_runtime::Error> {
    /// let keys = AppKeys::builder().env()?.build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error in these cases:
    ///
    /// - a setting is invalid, or no key store is set;
    /// - the database is unavailable;
    /// - the key tables are missing or incompatible, or lack their triggers;
    /// - the stored keys use another pepper;
    /// - a thread cannot be started.
    pub fn build(self) -> Result<AppKeys, Error> {
        let checked = self.check()?;
        let connected = self.connect(&checked.digester)?;
        self.start(checked, connected)
    }

    /// Runs the pending migrations on the configured database. Creates the SQLite file if it does
    /// not exist.
    ///
    /// Any number of processes may call this method at once: all pending migrations run in one
    /// transaction under a lock. Do not call this method if your own Diesel migrations contain a
    /// copy of these migrations.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```no_run")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// # fn keys() -> Result<api_key_runtime::AppKeys, api_key_runtime::Error> {
    /// let keys = api_key_runtime::AppKeys::builder().env()?.migrate()?.build()?;
    /// # Ok(keys)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if no database is configured, its URL is invalid, the database is
    /// unavailable, or a migration fails. A failed call leaves the tables unchanged.
    #[cfg(feature = "_diesel")]
    pub fn migrate(mut self) -> Result<Self, Error> {
        let database = self.named_database()?;
        crate::store::migrate(&database)?;
        self.store = StoreSetting::Migrated(database);
        Ok(self)
    }

    /// Returns an [`Admin`](crate::admin::Admin) without starting threads, for programs that only
    /// administer keys.
    ///
    /// ```no_run
    /// use api_key_runtime::AppKeys;
    ///
    /// # fn main() -> Result<(), api_key_runtime::Error> {
    /// let admin = AppKeys::builder().env()?.build_admin()?;
    /// admin.revoke(17)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if the prefix, a pepper or the database URL is invalid, or if no database
    /// is configured. The other settings and the tables are not checked.
    #[cfg(feature = "_diesel")]
    pub fn build_admin(self) -> Result<crate::admin::Admin, Error> {
        let (format_rules, digester) = self.format_rules_and_digester()?;
        let database = self.named_database()?;
        Ok(crate::admin::Admin::new(database, format_rules, digester, self.clock))
    }

    #[cfg(feature = "_diesel")]
    fn named_database(&self) -> Result<Database, Error> {
        self.store.database()?.ok_or_else(|| {
            Error::config("no database is configured: call AppKeysBuilder::database_url")
        })
    }

    pub(super) fn trusts_unix_socket(&self) -> bool {
        self.trust_unix_socket || self.env_trusts_unix_socket
    }

    fn check(&self) -> Result<Checked, Error> {
        let key_locations = KeyLocations::check(&self.key_locations)?;
        let responses =
            Responses::new(&self.realm, &key_locations, self.bodies.clone(), self.expiry_header)?;
        let trusted_proxies = TrustedProxies::check(
            &self.trusted_proxies,
            self.trusts_unix_socket(),
            self.forwarded_header.as_deref(),
        )?;
        let (format_rules, digester) = self.format_rules_and_digester()?;
        if self.lookup_timeout.is_zero() {
            return Err(Error::config(
                "lookup_timeout is zero: every request would be rejected; set a longer lookup_timeout",
            ));
        }
        if self.cache_capacity == 0 {
            return Err(Error::config(
                "cache_capacity is zero; set at least 1, or switch caching off with max_staleness(Duration::ZERO)",
            ));
        }
        if self.usage_flush_interval.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::config(
                "usage_flush_interval is zero; set a longer usage_flush_interval, or None to record no usage",
            ));
        }
        Ok(Checked {
            key_locations,
            responses,
            trusted_proxies,
            format_rules,
            digester,
            bounds: self.bounds()?,
        })
    }

    #[cfg_attr(
        not(feature = "_diesel"),
        expect(unused_variables, reason = "only tables record how their keys are digested")
    )]
    fn connect(&self, digester: &Digester) -> Result<Connected, Error> {
        #[cfg(feature = "_diesel")]
        let database = self.store.database()?;
        #[cfg(feature = "_diesel")]
        let listen = self.listen_database(database.as_ref())?;
        #[cfg(feature = "_diesel")]
        if let Some(database) = database {
            let store =
                DieselStore::connect(&database, listen.as_ref(), digester, self.idle_timeout)?;
            return Ok(Connected { store: Arc::new(store), database: Some(database) });
        }
        match &self.store {
            StoreSetting::Own(store) => Ok(Connected {
                store: Arc::clone(store),
                #[cfg(feature = "_diesel")]
                database: None,
            }),
            _ => Err(Error::config(
                "no key store is configured: call AppKeysBuilder::database_url or AppKeysBuilder::store",
            )),
        }
    }

    fn start(self, checked: Checked, connected: Connected) -> Result<AppKeys, Error> {
        let (format_rules, digester, store) =
            (checked.format_rules, checked.digester, connected.store);
        let cache = Arc::new(Cache::new(
            checked.bounds,
            self.cache_capacity,
            digester.previous_algorithm().is_some(),
        ));
        #[cfg(feature = "_diesel")]
        process::register(&cache);
        #[cfg(feature = "_diesel")]
        let live_set =
            connected.database.as_ref().and_then(|database| LiveSet::new(database, &self));
        #[cfg(feature = "_diesel")]
        let admin = connected.database.map(|database| {
            crate::admin::Admin::new(
                database,
                format_rules.clone(),
                digester.clone(),
                self.clock.apart(),
            )
            .forgetting_in(Arc::clone(&cache))
        });
        let workers = Workers::default();
        let usage = match self.usage_flush_interval {
            None => None,
            Some(interval) => Some(Usage::start(
                Arc::clone(&store),
                self.clock.clone(),
                interval,
                workers.clone(),
            )?),
        };
        let deadline = self.lookup_timeout;
        let circuit_breaker = Arc::new(CircuitBreaker::new(deadline));
        let lookups = Arc::new(Lookups::start(
            Arc::clone(&store),
            digester.clone(),
            Arc::clone(&cache),
            Arc::clone(&circuit_breaker),
            deadline,
            workers.clone(),
        )?);
        let feed = Arc::new(FeedThread::start(
            Arc::clone(&store),
            Arc::clone(&cache),
            Arc::clone(&circuit_breaker),
            deadline,
            self.clock.clone(),
            workers.clone(),
        )?);
        let rejection_log = RejectionLog::default();
        let supervisor = Supervisor::start(
            &feed,
            &lookups,
            usage.as_ref(),
            circuit_breaker,
            rejection_log.clone(),
            &workers,
        )?;
        Ok(AppKeys {
            inner: Arc::new(Inner {
                number: KeySetId::next(),
                key_locations: checked.key_locations,
                format_rules,
                digester,
                cache,
                lookups,
                feed,
                supervisor,
                closing: Closing::new(workers, store),
                usage,
                responses: checked.responses,
                trusted_proxies: checked.trusted_proxies,
                rejection_log,
                counters: Counters::default(),
                clock: self.clock,
                #[cfg(feature = "_diesel")]
                admin,
                #[cfg(feature = "_diesel")]
                live_set: std::sync::Mutex::new(live_set),
            }),
        })
    }

    /// Returns the database of `listen_url`, or `None` if `listen_url` is not set. Fails if the
    /// keys or `listen_url` are not in Postgres.
    #[cfg(feature = "_diesel")]
    fn listen_database(&self, keys: Option<&Database>) -> Result<Option<Database>, Error> {
        let Some(url) = &self.listen_url else {
            return Ok(None);
        };
        let listen = Database::parse(url.as_str())?;
        if listen.is_postgres() && keys.is_some_and(Database::is_postgres) {
            return Ok(Some(listen));
        }
        Err(Error::config(
            "cannot use listen_url: the keys and listen_url must both be in Postgres; set listen_url to a direct postgres:// URL of the same database, or leave it out",
        ))
    }

    fn bounds(&self) -> Result<Bounds, Error> {
        let (max_staleness, stale_if_error) = (self.max_staleness, self.stale_if_error);
        let Some(stale_if_error) = stale_if_error else {
            return Ok(Bounds { max_staleness, stale_if_error: Duration::ZERO });
        };
        if stale_if_error < max_staleness {
            return Err(Error::config(format!(
                "stale_if_error ({stale_if_error:?}) is shorter than max_staleness ({max_staleness:?}): an outage would shorten the life of \
                 cache entries; set a longer stale_if_error, or leave it out"
            )));
        }
        if max_staleness.is_zero() {
            return Err(Error::config(
                "stale_if_error is set, but max_staleness is zero: nothing is cached; set a longer max_staleness, or leave \
                 stale_if_error out",
            ));
        }
        Ok(Bounds { max_staleness, stale_if_error })
    }

    pub(super) fn checked_prefix(&self) -> Result<Prefix, Error> {
        self.prefix.as_deref().map_or_else(|| Ok(Prefix::default()), Prefix::parse)
    }

    fn format_rules_and_digester(&self) -> Result<(FormatRules, Digester), Error> {
        let prefix = self.checked_prefix()?;
        let pepper = self.pepper.as_ref().map(Secret::as_str);
        let previous = self.previous_pepper.as_ref().map(Secret::as_str);
        let digester = Digester::parse(pepper, previous)?;
        Ok((FormatRules { prefix, accept_imported: self.accept_imported }, digester))
    }
}
