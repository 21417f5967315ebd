//! The `#[require_app_key]` attribute of `api-key-runtime`, which re-exports it.
//!
//! Depend on `api-key-runtime`, never on this crate: exactly one version of it fits a runtime.

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

#[allow(missing_docs, reason = "they stand where api-key-runtime re-exports it")]
#[proc_macro_attribute]
pub fn require_app_key(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(args.into(), item.into()).into()
}
