//! What is held in the clear: a key, and settings that nobody else may read.

use std::fmt;

use zeroize::Zeroizing;

/// A key in the clear, as it exists exactly once: when it has just been issued.
///
/// It can be neither cloned, displayed nor serialised, its `Debug` shows nothing of it, and its
/// memory is overwritten when it is dropped. Hand [`expose_secret`](Self::expose_secret) to the
/// person the key is for, and to nobody else.
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

    /// The key itself.
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

/// A setting that `Debug` does not show: a pepper, or a URL that may hold a password.
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
