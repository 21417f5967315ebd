//! The settings of a new key. They are checked and turned into a key and its record.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    allowed_ips::AllowedIps,
    clock::to_stored,
    error::Error,
    key::{Digester, FormatRules, KeyFormat, KeySecret},
    key_fields::{Expiry, check_allowed_ips, check_text},
    key_record::KeyRecord,
    scope::ScopeSet,
};

/// The settings of a new key: name, IP allow list, scopes, owner and expiry.
///
/// ```
/// use std::time::Duration;
///
/// use api_key_runtime::admin::NewKey;
///
/// let new = NewKey::new("billing")
///     .allow("10.0.0.0/8")?
///     .scopes("cakes:read cakes:write")?
///     .owner("user 17")
///     .expires_in(Duration::from_secs(90 * 24 * 60 * 60));
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "no key exists until it is issued"]
pub struct NewKey {
    name: String,
    allowed_ips: Option<AllowedIps>,
    scopes: ScopeSet,
    owner: Option<String>,
    expiry: Option<Expiry>,
    format: KeyFormat,
}

impl NewKey {
    /// Returns the settings of a native key with this name, and without an IP allow list, scopes,
    /// an owner or an expiry.
    ///
    /// Call [`allow`](Self::allow) or [`allow_any`](Self::allow_any) before issuing the key: a key
    /// without an IP allow list is an error.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            allowed_ips: None,
            scopes: ScopeSet::default(),
            owner: None,
            expiry: None,
            format: KeyFormat::Native,
        }
    }

    /// Adds IP addresses and CIDR blocks from which the key may be used. The argument is a text
    /// with spaces between the entries, or an [`AllowedIps`].
    ///
    /// Each call extends the list of the previous calls. After [`allow_any`](Self::allow_any) the
    /// key stays usable from any IP address.
    ///
    /// ```
    /// use api_key_runtime::admin::NewKey;
    ///
    /// let new = NewKey::new("billing").allow("10.0.0.0/8 2001:db8::/32")?.allow("192.0.2.7")?;
    /// # Ok::<(), api_key_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the text is not a list of IP addresses and CIDR blocks.
    #[doc(alias = "allowlist")]
    #[doc(alias = "cidr")]
    #[doc(alias = "whitelist")]
    pub fn allow(mut self, ips: impl AsRef<str>) -> Result<Self, Error> {
        let more: AllowedIps = ips.as_ref().parse()?;
        self.allowed_ips = Some(match self.allowed_ips.take() {
            None => more,
            Some(allowed) => allowed.or(more),
        });
        Ok(self)
    }

    /// Allows the key to be used from any IP address, even if the client IP is unknown.
    pub fn allow_any(mut self) -> Self {
        self.allowed_ips = Some(AllowedIps::any());
        self
    }

    /// Sets the scopes of the key: tokens separated by spaces, or a [`ScopeSet`]. Defaults to none.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of scopes.
    #[doc(alias = "permissions")]
    pub fn scopes(mut self, scopes: impl AsRef<str>) -> Result<Self, Error> {
        self.scopes = scopes.as_ref().parse()?;
        Ok(self)
    }

    /// Sets the application's own user that the key belongs to. Defaults to none.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets when the key expires, to the microsecond. Defaults to never.
    pub fn expires_at(mut self, end: DateTime<Utc>) -> Self {
        self.expiry = Some(Expiry::At(end));
        self
    }

    /// Sets the lifetime of the key from its issue to its expiry, to the microsecond. By default
    /// the key does not expire.
    #[doc(alias = "lifetime")]
    #[doc(alias = "ttl")]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expiry = Some(Expiry::In(lifetime));
        self
    }

    /// Sets the format that the key is issued in. Defaults to [`KeyFormat::Native`].
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    fn checked_ips(&self) -> Result<&AllowedIps, Error> {
        let Some(allowed_ips) = &self.allowed_ips else {
            return Err(Error::invalid_input(
                "the key has no IP allow list: call NewKey::allow with addresses or CIDR blocks, or NewKey::allow_any",
            ));
        };
        check_allowed_ips(allowed_ips)?;
        Ok(allowed_ips)
    }

    /// Makes a new key and its record. The store assigns the id of the record.
    pub(crate) fn make(
        &self,
        format_rules: &FormatRules,
        digester: &Digester,
        now: DateTime<Utc>,
    ) -> Result<IssuedKey, Error> {
        let now = to_stored(now);
        check_text("name", &self.name)?;
        if let Some(owner) = &self.owner {
            check_text("owner", owner)?;
        }
        let allowed_ips = self.checked_ips()?;
        let expires_at = self.expiry.map(|expiry| expiry.from(now)).transpose()?;
        let secret = format_rules.generate(self.format)?;
        let mut record =
            KeyRecord::new(0, digester.digest(secret.expose_secret()), allowed_ips.clone());
        record.digest_algorithm = digester.current_algorithm().clone();
        record.hint = format_rules.hint(&secret);
        record.name.clone_from(&self.name);
        record.owner.clone_from(&self.owner);
        record.scopes = self.scopes.clone();
        record.created_at = now;
        record.expires_at = expires_at;
        Ok(IssuedKey { secret, record })
    }
}

/// A key that was just issued. Only this value contains the secret.
#[derive(Debug)]
#[non_exhaustive]
pub struct IssuedKey {
    /// The key itself. Give the key to the client that will use it, and do not store the key.
    pub secret: KeySecret,
    /// The record of the key. Only the record is stored.
    pub record: KeyRecord,
}
