//! The format, the digest and the secret of a key. This module is independent of HTTP and SQL.

mod digest;
mod format;
mod one_block;
mod scan;
mod secret;

pub use digest::{DigestAlgorithm, KeyDigest};
pub(crate) use digest::{Digester, Digests};
pub use format::KeyFormat;
#[cfg(fuzzing)]
pub(crate) use format::is_key_character;
pub(crate) use format::{FormatRules, Prefix, are_key_characters, begins_with_body};
pub use scan::{FoundKey, KeyScanner};
pub use secret::KeySecret;
pub(crate) use secret::Secret;
