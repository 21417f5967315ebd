//! Settings from the environment.

use super::AppKeysBuilder;
use crate::{Error, key::Secret};

impl AppKeysBuilder {
    /// Settings from the environment, so that a service and the command agree: `DATABASE_URL` (required), `APP_KEY_PREFIX`,
    /// `APP_KEY_PEPPER`, `APP_KEY_PEPPER_PREVIOUS`, `APP_KEY_ACCEPT_IMPORTED` (`1` or `0`), `APP_KEY_TRUSTED_PROXIES` (separated by
    /// spaces) and `APP_KEY_FORWARDED_HEADER`. An empty variable counts as unset, but for the two peppers, where it is refused.
    ///
    /// # Errors
    /// When `DATABASE_URL` is missing, or a variable is not Unicode or has a value it cannot have.
    pub fn from_env() -> Result<Self, Error> {
        let url = variable("DATABASE_URL")?.ok_or_else(|| {
            Error::config("DATABASE_URL is not set: set it to postgres://USER@HOST/DATABASE or to the path of an SQLite file")
        })?;
        let mut builder = Self::default().database_url(url);
        builder.prefix = variable("APP_KEY_PREFIX")?;
        builder.pepper = secret_variable("APP_KEY_PEPPER")?.map(Secret::new);
        builder.previous_pepper = secret_variable("APP_KEY_PEPPER_PREVIOUS")?.map(Secret::new);
        builder.accept_imported = match variable("APP_KEY_ACCEPT_IMPORTED")?.as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => {
                return Err(Error::config(format!(
                    "APP_KEY_ACCEPT_IMPORTED is {other:?}, and can be 1 or 0"
                )));
            }
        };
        let proxies = variable("APP_KEY_TRUSTED_PROXIES")?.unwrap_or_default();
        builder.trusted_proxies = proxies.split_ascii_whitespace().map(str::to_owned).collect();
        builder.forwarded_header = variable("APP_KEY_FORWARDED_HEADER")?;
        Ok(builder)
    }
}

/// A variable that is set. An empty one counts as unset, as deployment tools write those, but for a secret.
fn variable(name: &str) -> Result<Option<String>, Error> {
    Ok(secret_variable(name)?.filter(|value| !value.is_empty()))
}

fn secret_variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::config(format!("{name} is not Unicode")))
        }
    }
}
