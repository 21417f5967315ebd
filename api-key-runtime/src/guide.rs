//! The guide: one page for each chapter, from the first key to the tenth replica.
//!
//! The [page of the crate](crate) has a first example and a table of the chapters. Every block of
//! Rust is compiled, and run unless it needs a server.

// The chapters link to these.
#[allow(unused_imports)]
use crate::{admin::*, health::*, metrics::*, store::*, *};

/// The chapters are files beside the code, so that they can be read and changed as text.
macro_rules! chapters {
    ($($name:ident)*) => {$(
        // Doctests of the chapters keep keys in files and in memory, so they need these features.
        #[cfg_attr(
            any(
                not(doctest),
                all(feature = "postgres", feature = "sqlite", feature = "route-audit")
            ),
            doc = include_str!(concat!("../guide/", stringify!($name), ".md"))
        )]
        #[allow(missing_docs, reason = "a file")]
        pub mod $name {}
    )*};
}

chapters! {
    concepts
    start
    key_locations
    addresses
    freshness
    migrations
    joins
    testing
    operations
    backups
    flask
    faq
}
