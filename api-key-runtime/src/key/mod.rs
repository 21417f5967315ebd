//! A key's form, its digest and its secret. Knows nothing of HTTP or SQL.

mod digest;
mod form;
mod secret;

pub use digest::{Digest, DigestKey};
pub(crate) use digest::{Digester, Digests};
pub use form::KeyFormat;
pub(crate) use form::{KeyForm, Prefix, is_key_character};
pub use secret::KeySecret;
