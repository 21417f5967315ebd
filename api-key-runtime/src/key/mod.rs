//! A key's form, its digest and its secret. Knows nothing of HTTP or SQL.

mod digest;
mod form;
mod secret;

pub use digest::{DigestAlgorithm, KeyDigest};
pub(crate) use digest::{Digester, Digests};
pub use form::KeyFormat;
#[cfg(fuzzing)]
pub(crate) use form::is_key_character;
pub(crate) use form::{KeyForm, Prefix, are_key_characters};
pub use secret::KeySecret;
pub(crate) use secret::Secret;
