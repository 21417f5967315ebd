//! Settings from the environment.

use super::AppKeysBuilder;
#[cfg(feature = "_diesel")]
use super::builder::StoreSetting;
use crate::{Error, key::Secret};

/// The word that stands for the peers of a Unix socket, which have no address.
const UNIX_SOCKET: &str = "unix";

impl AppKeysBuilder {
    /// Overlays the settings that the environment names, so that a service and the command agree.
    ///
    /// | variable | sets |
    /// | --- | --- |
    /// | `DATABASE_URL` | `database_url`, unless a URL, a pool or a store is set before or after |
    /// | `APP_KEY_PREFIX` | [`prefix`](Self::prefix) |
    /// | `APP_KEY_PEPPER` | [`pepper`](Self::pepper) |
    /// | `APP_KEY_PEPPER_PREVIOUS` | [`previous_pepper`](Self::previous_pepper) |
    /// | `APP_KEY_ACCEPT_IMPORTED` | [`accept_imported_keys`](Self::accept_imported_keys), `1` or `0` |
    /// | `APP_KEY_TRUSTED_PROXIES` | [`trusted_proxies`](Self::trusted_proxies), separated by spaces; the word `unix` is [`trust_unix_socket`](Self::trust_unix_socket) |
    /// | `APP_KEY_FORWARDED_HEADER` | [`forwarded_header`](Self::forwarded_header) |
    ///
    /// A variable that is not set changes nothing. An empty variable counts as not set, except for the two peppers, where
    /// [`build`](Self::build) rejects it. A setter that is called after this method overrides the environment.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```no_run")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use api_key_runtime::AppKeys;
    ///
    /// # fn keys() -> Result<AppKeys, api_key_runtime::Error> {
    /// let keys = AppKeys::builder().env()?.build()?;
    /// # Ok(keys)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if a variable is not Unicode, or if `APP_KEY_ACCEPT_IMPORTED` is neither `1` nor `0`. [`build`](Self::build) checks
    /// the other values, and reports a missing `DATABASE_URL`.
    pub fn env(self) -> Result<Self, Error> {
        self.overlay(&process_variable)
    }

    fn overlay(
        mut self,
        secret_variable: &dyn Fn(&str) -> Result<Option<String>, Error>,
    ) -> Result<Self, Error> {
        // An empty variable counts as unset, because deployment tools write those.
        let variable = |name: &str| Ok(secret_variable(name)?.filter(|value| !value.is_empty()));
        #[cfg(feature = "_diesel")]
        if matches!(self.store, StoreSetting::None | StoreSetting::NotInEnv) {
            self.store = match variable("DATABASE_URL")? {
                Some(url) => StoreSetting::Url(Secret::new(url)),
                None => StoreSetting::NotInEnv,
            };
        }
        if let Some(prefix) = variable("APP_KEY_PREFIX")? {
            self = self.prefix(prefix);
        }
        if let Some(pepper) = secret_variable("APP_KEY_PEPPER")? {
            self = self.pepper(pepper);
        }
        if let Some(pepper) = secret_variable("APP_KEY_PEPPER_PREVIOUS")? {
            self = self.previous_pepper(pepper);
        }
        self = match variable("APP_KEY_ACCEPT_IMPORTED")?.as_deref() {
            None => self,
            Some("0") => self.accept_imported_keys(false),
            Some("1") => self.accept_imported_keys(true),
            Some(other) => {
                return Err(Error::config(format!(
                    "APP_KEY_ACCEPT_IMPORTED is {other:?}, and can be 1 or 0"
                )));
            }
        };
        if let Some(proxies) = variable("APP_KEY_TRUSTED_PROXIES")? {
            let words = proxies.split_ascii_whitespace();
            self.trust_unix_socket = words.clone().any(|word| word == UNIX_SOCKET);
            self = self.trusted_proxies(words.filter(|word| *word != UNIX_SOCKET));
        }
        if let Some(header) = variable("APP_KEY_FORWARDED_HEADER")? {
            self = self.forwarded_header(header);
        }
        Ok(self)
    }
}

fn process_variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::config(format!("{name} is not Unicode")))
        }
    }
}
