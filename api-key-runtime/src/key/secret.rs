//! Secrets in plain text: a new key, and settings that must not be logged.

use std::fmt;

use zeroize::Zeroizing;

/// A key in plain text: newly issued, or found by [`KeyScanner`](crate::admin::KeyScanner). A new
/// key is available in plain text only once, directly after it is issued.
///
/// The type does not implement `Clone`, `Display` or `Serialize`. `Debug` does not show the key.
/// The memory of the key is overwritten on drop. Pass the result of
/// [`expose_secret`](Self::expose_secret) only to the user of the key.
///
/// ```compile_fail
/// fn print(secret: api_key_runtime::admin::KeySecret) {
///     println!("{secret}"); // a secret has no `Display`
/// }
/// ```
pub struct KeySecret(Zeroizing<String>);

impl KeySecret {
    pub(crate) fn new(key: String) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Returns the key.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeySecret(..)")
    }
}

/// A setting that `Debug` does not show, such as a pepper or a URL that may contain a password.
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("..")
    }
}
