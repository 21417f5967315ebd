//! A key from another system, and the checks before the key is imported.

use chrono::{DateTime, Datelike as _, Utc};

use crate::{
    allowed_ips::AllowedIps,
    clock::to_stored,
    error::Error,
    key::{
        Digester, FormatRules, KeyDigest, KeySecret, MAX_KEY_BYTES, are_key_characters,
        is_guessable,
    },
    key_fields::{check_allowed_ips, check_text},
    key_record::KeyRecord,
    scope::ScopeSet,
};

/// The default name of an imported key.
const DEFAULT_NAME: &str = "imported";
/// The years that the column `expires_at` accepts.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=9999;
/// The algorithm of [`ImportedKey::from_sha256`].
const PLAIN: &str = "sha256";

/// A key from another system, for [`Admin::import`](crate::admin::Admin::import). Clients keep
/// using the key.
///
/// ```
/// use api_key_runtime::admin::ImportedKey;
///
/// let key = ImportedKey::new("6fa459ea-ee8a-3ca4-894e-db77e160355e")
///     .name("billing")
///     .allow("10.0.0.0/8")?
///     .scopes("cakes:read")?
///     .owner("user 17");
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "no key is imported until it is passed to `Admin::import`"]
pub struct ImportedKey {
    given: Given,
    name: String,
    allowed_ips: Option<AllowedIps>,
    scopes: ScopeSet,
    owner: Option<String>,
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug)]
enum Given {
    Key(KeySecret),
    Sha256(KeyDigest),
}

impl ImportedKey {
    /// Returns a key, given in plain text. The key has no IP allow list, scopes, owner or expiry
    /// yet.
    ///
    /// Call [`allow`](Self::allow) or [`allow_any`](Self::allow_any) before importing the key: a
    /// key without an IP allow list is refused.
    pub fn new(key: impl Into<String>) -> Self {
        Self::given(Given::Key(KeySecret::new(key.into())))
    }

    /// Returns a key of which only the unsalted SHA-256 digest is known. Such a key can be imported
    /// only if neither a pepper nor a previous pepper is set. The format of the key cannot be
    /// checked, and neither can its strength.
    pub fn from_sha256(digest: [u8; 32]) -> Self {
        Self::given(Given::Sha256(KeyDigest::from_bytes(digest)))
    }

    fn given(given: Given) -> Self {
        Self {
            given,
            name: String::new(),
            allowed_ips: None,
            scopes: ScopeSet::default(),
            owner: None,
            expires_at: None,
        }
    }

    /// Sets the name. An empty name becomes `imported`, which is also the default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds IP addresses and CIDR blocks from which the key may be used, as
    /// [`NewKey::allow`](crate::admin::NewKey::allow) does.
    ///
    /// # Errors
    /// Returns an error if the text is not a list of IP addresses and CIDR blocks.
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
    pub fn scopes(mut self, scopes: impl AsRef<str>) -> Result<Self, Error> {
        self.scopes = scopes.as_ref().parse()?;
        Ok(self)
    }

    /// Sets the application's own user that the key belongs to. Defaults to none.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets when the key expires, to the microsecond. Defaults to never. The expiry may be in the
    /// past, so that an import can be repeated.
    pub fn expires_at(mut self, end: DateTime<Utc>) -> Self {
        self.expires_at = Some(end);
        self
    }

    /// Checks that a service with these settings would accept the key. An error ends the import,
    /// because the import cannot succeed until the settings are changed.
    pub(crate) fn check_settings(
        &self,
        row: u64,
        format_rules: &FormatRules,
        digester: &Digester,
    ) -> Result<(), Error> {
        let is_accepted = match &self.given {
            Given::Key(key) => {
                let is_native = FormatRules { accept_imported: false, ..format_rules.clone() };
                format_rules.accept_imported || is_native.accepts(key.expose_secret())
            }
            Given::Sha256(_) => {
                if digester.algorithms().any(|algorithm| algorithm.as_str() != PLAIN) {
                    return Err(Error::config(
                        "nothing was imported: SHA-256 digests cannot be used with a pepper; import the keys themselves, or \
                         import into a table without APP_KEY_PEPPER and APP_KEY_PEPPER_PREVIOUS",
                    ));
                }
                format_rules.accept_imported
            }
        };
        if is_accepted {
            return Ok(());
        }
        Err(Error::config(format!(
            "nothing was imported: the service would reject the key of row {row}, because that key is not native; \
             set APP_KEY_ACCEPT_IMPORTED=1 for this command and for the service"
        )))
    }

    /// Checks the key and makes its record. The error contains no part of the key.
    pub(crate) fn stage(
        self,
        row: u64,
        format_rules: &FormatRules,
        digester: &Digester,
        now: DateTime<Utc>,
    ) -> Result<StagedKey, Error> {
        let Some(allowed_ips) = self.allowed_ips else {
            return Err(Error::invalid_input(
                "the key has no IP allow list: name addresses or CIDR blocks; 0.0.0.0 allows every address",
            ));
        };
        check_allowed_ips(&allowed_ips)?;
        let name = if self.name.trim().is_empty() { DEFAULT_NAME.to_owned() } else { self.name };
        check_text("name", &name)?;
        self.owner.as_ref().map_or(Ok(()), |owner| check_text("owner", owner))?;
        if self.expires_at.is_some_and(|end| !YEARS.contains(&end.year())) {
            return Err(Error::invalid_input("the expiry is not between the years 1900 and 9999"));
        }
        let (digest, previous, hint) = match &self.given {
            Given::Sha256(digest) => (*digest, None, String::new()),
            Given::Key(secret) => {
                let key = secret.expose_secret();
                check_key(key, format_rules, digester)?;
                (digester.digest(key), digester.previous_digest(key), format_rules.hint(secret))
            }
        };
        let mut record = KeyRecord::new(0, digest, allowed_ips);
        record.digest_algorithm = digester.current_algorithm().clone();
        record.hint = hint;
        record.name = name;
        record.owner = self.owner;
        record.scopes = self.scopes;
        record.created_at = to_stored(now);
        record.expires_at = self.expires_at.map(to_stored);
        Ok(StagedKey { row, record, previous })
    }
}

/// Checks that a request can present this key. Without a pepper, also checks that the key cannot be
/// guessed from its digest.
fn check_key(key: &str, format_rules: &FormatRules, digester: &Digester) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::invalid_input("the key is empty"));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid_input(format!(
            "no request can present the key: it is longer than {MAX_KEY_BYTES} characters"
        )));
    }
    if !are_key_characters(key.as_bytes()) {
        let position = key
            .char_indices()
            .position(|(_, character)| !are_key_characters(character.to_string().as_bytes()));
        return Err(Error::invalid_input(format!(
            "no request can present the key: its character {} is not a letter, a digit or one of -._~+/=",
            position.map_or(0, |position| position + 1)
        )));
    }
    if !format_rules.accepts(key) {
        return Err(Error::invalid_input(
            "the key looks like a native key, but its checksum is wrong: it is mistyped or cut off",
        ));
    }
    if digester.current_algorithm().as_str() == PLAIN && is_guessable(key) {
        return Err(Error::invalid_input(
            "the key is too short or too uniform for a digest without a pepper; set APP_KEY_PEPPER, or issue a new key",
        ));
    }
    Ok(())
}

/// A checked key with its row number.
pub(crate) struct StagedKey {
    pub(crate) row: u64,
    pub(crate) record: KeyRecord,
    /// The digest under the previous pepper. If this digest is in the table, the key is already
    /// there and is skipped.
    pub(crate) previous: Option<KeyDigest>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Prefix;

    const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";
    const UUID: &str = "6fa459ea-ee8a-3ca4-894e-db77e160355e";
    const NATIVE: &str = concat!("ak_live_", "ASZLcJW63wQpTnOYveIHLFF2m8DlCi9UeZ7D6A2WaXTg");

    fn lenient() -> FormatRules {
        FormatRules { accept_imported: true, ..FormatRules::default() }
    }

    fn peppered() -> Digester {
        Digester::parse(Some(PEPPER), None).unwrap()
    }

    fn stage(key: ImportedKey, digester: &Digester) -> Result<StagedKey, Error> {
        key.stage(7, &lenient(), digester, Utc::now())
    }

    // I3
    #[test]
    fn a_key_that_no_request_can_present_is_refused() {
        let long = "aB3".repeat(86);
        let mistyped = NATIVE.replace("ASZ", "ASY");
        for (key, expected) in [
            ("", "is empty"),
            ("two words of a long key 0123456789", "its character 4 is not"),
            ("0123456789abcdef0123456789\u{e9}", "its character 27 is not"),
            ("0123456789abcdef0123456789\n", "its character 27 is not"),
            (&long, "longer than 256"),
            (&mistyped, "checksum is wrong"),
            ("ak_live_0123456789abcdef", "checksum is wrong"),
            ("short", "set APP_KEY_PEPPER"),
        ] {
            let key = ImportedKey::new(key).allow_any();
            let error = stage(key, &Digester::default()).err().unwrap();
            assert!(error.is_invalid_input() && error.to_string().contains(expected), "{error}");
        }
        assert!(stage(ImportedKey::new("short").allow_any(), &peppered()).is_ok());
    }

    // I3
    #[test]
    fn an_imported_key_has_a_hint_and_a_name() {
        for (key, hint) in [(UUID, "6fa4"), (NATIVE, "ak_live_ASZL"), ("abcdefghijkl", "ab")] {
            let staged = stage(ImportedKey::new(key).allow_any(), &peppered()).unwrap();
            assert_eq!((staged.row, staged.record.hint.as_str()), (7, hint));
            assert_eq!(staged.record.name, "imported");
        }
        let digest = stage(ImportedKey::from_sha256([9; 32]).allow_any(), &Digester::default());
        let record = digest.unwrap().record;
        assert_eq!((record.hint.as_str(), record.digest.as_bytes()), ("", &[9; 32]));
        let without = stage(ImportedKey::new(UUID), &peppered()).err().unwrap();
        assert!(without.to_string().contains("no IP allow list"), "{without}");
        let long = stage(ImportedKey::new(UUID).allow_any().name("n".repeat(201)), &peppered());
        assert!(long.err().unwrap().to_string().contains("invalid name"));
    }

    // A9
    #[test]
    fn foreign_keys_need_the_setting_that_accepts_them() {
        let strict = FormatRules::default();
        let other = FormatRules { prefix: Prefix::parse("shop_").unwrap(), ..strict.clone() };
        let plain = Digester::default();
        let check = |key: ImportedKey, rules, digester| key.check_settings(7, rules, digester);
        for (key, rules, digester, expected) in [
            (ImportedKey::new(NATIVE), &strict, &plain, None),
            (ImportedKey::new(NATIVE), &other, &plain, None),
            (ImportedKey::new(UUID), &lenient(), &plain, None),
            (ImportedKey::from_sha256([9; 32]), &lenient(), &plain, None),
            (ImportedKey::new(UUID), &strict, &plain, Some("APP_KEY_ACCEPT_IMPORTED")),
            (ImportedKey::from_sha256([9; 32]), &strict, &plain, Some("APP_KEY_ACCEPT_IMPORTED")),
            (ImportedKey::from_sha256([9; 32]), &lenient(), &peppered(), Some("pepper")),
        ] {
            let checked = check(key, rules, digester).err().map(|error| error.to_string());
            match (checked, expected) {
                (None, None) => {}
                (Some(error), Some(part)) => assert!(error.contains(part), "{error}"),
                (checked, expected) => panic!("{checked:?} instead of {expected:?}"),
            }
        }
    }

    // I3
    #[test]
    fn no_debug_output_has_the_key() {
        let key = ImportedKey::new(UUID).allow_any();
        assert!(!format!("{key:?}").contains(&UUID[..8]));
    }
}
