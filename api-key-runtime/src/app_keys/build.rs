//! From settings to what runs: everything is checked first, then the database is connected to, and last the threads are started.

use std::{sync::Arc, time::Duration};

use super::{AppKeys, AppKeysBuilder, Inner, SetNumber, builder::StoreSetting};
use crate::{
    Error, Source,
    availability::Availability,
    cache::{Bounds, Cache},
    feed::Feed,
    key::{Digester, KeyForm, Prefix},
    lookup::Lookups,
    refusal_log::RefusalLog,
    request::{Callers, Sources},
    response::Responses,
    usage::{self, Usage},
};
#[cfg(feature = "_diesel")]
use crate::{
    KeyStore,
    store::{Database, DieselStore},
};

const DEFAULT_REALM: &str = "api";
const DEFAULT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(1);
const DEFAULT_CACHE_CAPACITY: usize = 250_000;

impl AppKeysBuilder {
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
