//! The format, the digest and the secret of a key. This module is independent of HTTP and SQL.

mod digest;
mod format;
#[cfg(feature = "_diesel")]
mod guessable;
mod one_block;
mod scan;
mod secret;

pub use digest::{DigestAlgorithm, KeyDigest};
pub(crate) use digest::{Digester, Digests};
pub use format::KeyFormat;
#[cfg(fuzzing)]
pub(crate) use format::is_key_character;
pub(crate) use format::{FormatRules, MAX_KEY_BYTES, Prefix, are_key_characters, begins_with_body};
#[cfg(feature = "_diesel")]
pub(crate) use guessable::is_guessable;
pub use scan::{FoundKey, KeyScanner};
pub use secret::KeySecret;
pub(crate) use secret::Secret;
