//! A user's crate under every lint a user may have: each module holds handlers of one kind, and
//! nothing here may be warned of.
//!
//! Compiling it shows what the compiler thinks of the attribute, and clippy over it that no warning
//! of clippy's points into what the attribute makes. Whether the handlers are guarded is shown
//! where they are served.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    future_incompatible,
    let_underscore,
    missing_debug_implementations,
    missing_docs,
    nonstandard_style,
    rust_2018_idioms,
    rust_2021_compatibility,
    rust_2024_compatibility,
    unreachable_pub,
    unused,
    unused_lifetimes,
    unused_qualifications
)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]
// Not of the attribute: the first contradicts `unreachable_pub`, and actix-web's handlers stay on
// the thread that calls them.
#![allow(clippy::redundant_pub_crate, clippy::future_not_send)]

mod arguments;
mod attributes;
mod bare;
mod dead_code;
mod from_macro_rules;
mod generic;
mod returns;
mod routed;
mod runtime_elsewhere;

pub use generic::{count, named};
pub use routed::register;
