//! A user's crate under every lint that a user may enable. Each module contains handlers of one
//! kind, and none may cause a warning.
//!
//! The generated code must compile without a warning, also under clippy. Other tests serve handlers
//! and check that they are guarded.
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
// These lints are not related to the attribute. The first lint contradicts `unreachable_pub`. The
// second lint does not apply, because handlers of actix-web stay on one thread.
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
