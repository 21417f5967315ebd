//! The `#[require_app_key]` attribute of `api-key-runtime`, which re-exports it.
//!
//! Depend on `api-key-runtime` instead of this crate: each version of `api-key-runtime` requires
//! exactly one version of this crate.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;

mod args;
mod attributes;
mod errors;
mod expand;
mod handler;
#[cfg(test)]
mod tests;
mod validate;

#[allow(missing_docs, reason = "documented at the re-export in api-key-runtime")]
#[proc_macro_attribute]
pub fn require_app_key(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(args.into(), item.into()).into()
}
