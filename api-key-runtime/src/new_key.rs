//! Issuing: what is asked for, and making a key of it. Where it is put is a store's business.

use chrono::{DateTime, Datelike as _, Utc};

use crate::{
    AllowedIps, Error, KeyFormat, KeyRecord, KeySecret, ScopeSet,
    clock::to_stored,
    key::{Digester, KeyForm},
};

/// Longest name and owner, in characters: what the table's constraints allow.
const MAX_TEXT_CHARS: usize = 200;
/// Longest text of address rules, and last year of an expiry, likewise.
const MAX_ADDRESSES_CHARS: usize = 4000;
const LAST_YEAR: i32 = 9999;

/// What is asked for when a key is issued: what it is for, and where it may be used from.
///
/// ```
/// use api_key_runtime::NewKey;
///
/// let new = NewKey::new("billing", "10.0.0.0/8".parse()?).scopes("cakes:read cakes:write".parse()?).owner("user 17");
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "no key exists until it is issued"]
pub struct NewKey {
    name: String,
    allowed_ips: AllowedIps,
    scopes: ScopeSet,
    owner: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    format: KeyFormat,
}

impl NewKey {
    /// A native key without scopes, owner and end.
    pub fn new(name: impl Into<String>, allowed_ips: AllowedIps) -> Self {
        Self {
            name: name.into(),
            allowed_ips,
            scopes: ScopeSet::default(),
            owner: None,
            expires_at: None,
            format: KeyFormat::Native,
        }
    }

    /// What it may be used for.
    pub fn scopes(mut self, scopes: ScopeSet) -> Self {
        self.scopes = scopes;
        self
    }

    /// The application's own user that it belongs to.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// From when on it is refused. Both databases keep it to the microsecond.
    pub fn expires_at(mut self, end: DateTime<Utc>) -> Self {
        self.expires_at = Some(end);
        self
    }

    /// The form it is issued in.
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    fn check(&self, now: DateTime<Utc>) -> Result<(), Error> {
        check_text("name", &self.name)?;
        if let Some(owner) = &self.owner {
            check_text("owner", owner)?;
        }
        if self.allowed_ips.as_str().is_empty() || !self.allowed_ips.is_readable() {
            return Err(Error::invalid_input(
                "name the addresses the key may be used from; 0.0.0.0 means any",
            ));
        }
        if self.allowed_ips.as_str().len() > MAX_ADDRESSES_CHARS {
            return Err(Error::invalid_input(format!(
                "the addresses are more than the table holds ({MAX_ADDRESSES_CHARS} characters): name blocks instead, or issue several keys"
            )));
        }
        match self.expires_at {
            Some(end) if end.year() > LAST_YEAR => Err(Error::invalid_input(format!(
                "the key would expire after the year {LAST_YEAR}, which the table does not hold: leave the end out"
            ))),
            Some(end) if to_stored(end) <= now => Err(Error::invalid_input(format!(
                "the key would have expired already: {end} is not in the future"
            ))),
            _ => Ok(()),
        }
    }

    /// A new key and what is to be kept of it, under an id that the store gives.
    pub(crate) fn make(
        &self,
        form: &KeyForm,
        digester: &Digester,
        now: DateTime<Utc>,
    ) -> Result<IssuedKey, Error> {
        let now = to_stored(now);
        self.check(now)?;
        let secret = form.generate(self.format)?;
        let mut record =
            KeyRecord::new(0, digester.digest(secret.expose_secret()), self.allowed_ips.clone());
        record.digest_algorithm = digester.current_algorithm().clone();
        record.hint = form.hint(&secret);
        record.name.clone_from(&self.name);
        record.owner.clone_from(&self.owner);
        record.scopes = self.scopes.clone();
        record.created_at = now;
        record.expires_at = self.expires_at.map(to_stored);
        Ok(IssuedKey { secret, record })
    }
}

/// A key that was just issued: the only time its secret is seen.
#[derive(Debug)]
#[non_exhaustive]
pub struct IssuedKey {
    /// The key itself, for whom it was issued to.
    pub secret: KeySecret,
    /// What is kept of it.
    pub record: KeyRecord,
}

fn check_text(what: &str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() || text.chars().count() > MAX_TEXT_CHARS || text.contains('\0') {
        return Err(Error::invalid_input(format!(
            "the {what} is unusable: it is 1 to {MAX_TEXT_CHARS} characters, not all blank and none of them NUL"
        )));
    }
    Ok(())
}
