//! Settings from the environment.

#[cfg(feature = "_diesel")]
use super::builder::StoreSetting;
use super::{AppKeysBuilder, variables, variables::Variables};
use crate::error::Error;
#[cfg(feature = "_diesel")]
use crate::key::Secret;

/// The word for the peers of a Unix socket, which have no IP address.
const UNIX_SOCKET: &str = "unix";

impl AppKeysBuilder {
    /// Reads settings from the environment, so that a service and the command `app-key` use the
    /// same settings.
    ///
    /// | variable | sets |
    /// | --- | --- |
    /// | `DATABASE_URL` | [`database_url`](Self::database_url), unless a URL, a pool or a store is set before or after |
    /// | `APP_KEY_PREFIX` | [`prefix`](Self::prefix) |
    /// | `APP_KEY_PEPPER`, or `APP_KEY_PEPPER_FILE` | [`pepper`](Self::pepper), or the path of a file that contains it |
    /// | `APP_KEY_PEPPER_PREVIOUS`, or `APP_KEY_PEPPER_PREVIOUS_FILE` | [`previous_pepper`](Self::previous_pepper), likewise |
    /// | `APP_KEY_ACCEPT_IMPORTED` | [`accept_imported_keys`](Self::accept_imported_keys), `1` or `0` |
    /// | `APP_KEY_TRUSTED_PROXIES` | [`trusted_proxies`](Self::trusted_proxies), separated by spaces; the word `unix` sets [`trust_unix_socket`](Self::trust_unix_socket) |
    /// | `APP_KEY_FORWARDED_HEADER` | [`forwarded_header`](Self::forwarded_header) |
    ///
    /// A variable that is not set changes nothing. An empty variable counts as not set, but an
    /// empty variable of a pepper is an error, either of this method or of [`build`](Self::build).
    /// White space is removed around a value, and around the content of a file. A setter that is
    /// called after this method overrides the environment.
    ///
    /// Only the command reads `APP_KEY_ACTOR`. Any other name that begins with `APP_KEY_` is an
    /// error if it resembles one of these names or contains `PEPPER`. All other variables with this
    /// prefix are ignored, with a warning in the log. Variables that Kubernetes sets for a Service
    /// called `app-key` are ignored without a warning.
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
    /// Returns an error in these cases:
    ///
    /// - the value of a variable is not Unicode, or is in quotes;
    /// - a pepper is set both by value and by file, or its file cannot be read;
    /// - `APP_KEY_ACCEPT_IMPORTED` is neither `1` nor `0`;
    /// - the name of another variable is probably mistyped, as described above.
    ///
    /// [`build`](Self::build) checks the other values, and reports a missing `DATABASE_URL`.
    #[doc(alias = "environment")]
    pub fn env(self) -> Result<Self, Error> {
        variables::check_names()?;
        self.overlay(Variables(&|name| std::env::var_os(name)))
    }

    fn overlay(mut self, variables: Variables<'_>) -> Result<Self, Error> {
        let variable = |name: &str| variables.get(name);
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
        if let Some(pepper) = variables.secret("APP_KEY_PEPPER")? {
            self = self.pepper(pepper);
        }
        if let Some(pepper) = variables.secret("APP_KEY_PEPPER_PREVIOUS")? {
            self = self.previous_pepper(pepper);
        }
        self = match variable("APP_KEY_ACCEPT_IMPORTED")?.as_deref() {
            None => self,
            Some("0") => self.accept_imported_keys(false),
            Some("1") => self.accept_imported_keys(true),
            Some(other) => {
                return Err(Error::config(format!(
                    "{other:?} is not a switch: set APP_KEY_ACCEPT_IMPORTED to 1 or 0"
                )));
            }
        };
        if let Some(proxies) = variable("APP_KEY_TRUSTED_PROXIES")? {
            let words = proxies.split_ascii_whitespace();
            let has_unix_socket = words.clone().any(|word| word == UNIX_SOCKET);
            self = self
                .trusted_proxies(words.filter(|word| *word != UNIX_SOCKET))
                .trust_unix_socket(false);
            self.env_trusts_unix_socket = has_unix_socket;
        }
        if let Some(header) = variable("APP_KEY_FORWARDED_HEADER")? {
            self = self.forwarded_header(header);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaid(builder: AppKeysBuilder, variables: &[(&str, &str)]) -> AppKeysBuilder {
        let variable = |name: &str| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into())
        };
        builder.overlay(Variables(&variable)).unwrap()
    }

    #[test]
    fn variables_override_only_the_settings_that_they_name() {
        let before = || {
            AppKeysBuilder::default()
                .prefix("shop_")
                .accept_imported_keys(true)
                .trusted_proxies(["10.0.0.1"])
                .trust_unix_socket(true)
        };
        let same = overlaid(before(), &[]);
        assert_eq!(same.prefix.as_deref(), Some("shop_"));
        assert!(same.accept_imported && same.trust_unix_socket);
        assert_eq!(same.trusted_proxies, ["10.0.0.1"]);

        let variables = [
            ("APP_KEY_PREFIX", "own_"),
            ("APP_KEY_ACCEPT_IMPORTED", "0"),
            ("APP_KEY_TRUSTED_PROXIES", "10.0.0.2 10.0.0.3"),
            ("APP_KEY_FORWARDED_HEADER", "X-Real-IP"),
        ];
        let overlaid = overlaid(before(), &variables);
        assert_eq!(overlaid.prefix.as_deref(), Some("own_"));
        assert!(!overlaid.accept_imported && !overlaid.trusts_unix_socket());
        assert_eq!(overlaid.trusted_proxies, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(overlaid.forwarded_header.as_deref(), Some("X-Real-IP"));
        assert_eq!(overlaid.prefix("last_").prefix.as_deref(), Some("last_"));
    }

    #[test]
    fn an_empty_variable_is_unset_unless_it_is_a_pepper() {
        let builder = overlaid(
            AppKeysBuilder::default().prefix("shop_"),
            &[("APP_KEY_PREFIX", ""), ("APP_KEY_TRUSTED_PROXIES", ""), ("APP_KEY_PEPPER", "")],
        );
        assert_eq!(builder.prefix.as_deref(), Some("shop_"));
        assert!(builder.trusted_proxies.is_empty());
        assert_eq!(builder.pepper.as_ref().map(crate::key::Secret::as_str), Some(""));
    }

    #[test]
    fn the_word_unix_trusts_the_peers_of_a_unix_socket() {
        let proxies = [("APP_KEY_TRUSTED_PROXIES", "unix 10.0.0.1")];
        let builder = || overlaid(AppKeysBuilder::default(), &proxies);
        assert!(builder().trusts_unix_socket());
        assert_eq!(builder().trusted_proxies, ["10.0.0.1"]);
        assert!(!builder().trusted_proxies(["10.0.0.2"]).trusts_unix_socket());
        assert!(!builder().trust_unix_socket(false).trusts_unix_socket());
    }

    #[test]
    fn exactly_the_known_variables_are_read() {
        let read = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let variable = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            None
        };
        let _ = AppKeysBuilder::default().overlay(Variables(&variable)).unwrap();
        read.borrow_mut().remove("DATABASE_URL");
        assert_eq!(read.into_inner(), variables::NAMES.map(ToOwned::to_owned).into());
    }

    #[test]
    fn a_switch_is_one_or_zero() {
        let yes = |name: &str| (!name.ends_with("_FILE")).then(|| "yes".into());
        let error = AppKeysBuilder::default().overlay(Variables(&yes)).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("APP_KEY_ACCEPT_IMPORTED"));
    }

    #[cfg(feature = "_diesel")]
    #[test]
    fn a_store_in_code_counts_before_and_after_the_environment() {
        let url = [("DATABASE_URL", "other.db")];
        let is_own = |builder: &AppKeysBuilder| matches!(&builder.store, StoreSetting::Url(url) if url.as_str() == "own.db");
        let builder = || AppKeysBuilder::default();
        for variables in [&url[..], &[]] {
            assert!(is_own(&overlaid(builder().database_url("own.db"), variables)));
            assert!(is_own(&overlaid(builder(), variables).database_url("own.db")));
        }
        let builder = overlaid(builder(), &url);
        assert!(matches!(builder.store, StoreSetting::Url(url) if url.as_str() == "other.db"));
    }

    #[cfg(feature = "_diesel")]
    #[test]
    fn build_reports_a_missing_database_url() {
        let missing = |builder: AppKeysBuilder| builder.build().unwrap_err().to_string();
        assert!(missing(overlaid(AppKeysBuilder::default(), &[])).contains("DATABASE_URL"));
        assert!(missing(AppKeysBuilder::default()).contains("AppKeysBuilder::database_url"));
    }
}
