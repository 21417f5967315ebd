//! The guide, a chapter to a page: what a service needs from its first key to its tenth replica.
//!
//! The [page of the crate](crate) has the first five minutes and says which chapter answers what.
//! Every block of Rust in it is compiled, and run where no server is needed.

// What the chapters link to.
#[allow(unused_imports)]
use crate::{admin::*, health::*, metrics::*, store::*, *};

/// The chapters are files beside the code, so that they can be read and changed as text.
macro_rules! chapters {
    ($($name:ident)*) => {$(
        // Doctests of the chapters keep keys in files and in memory: they take the features for it.
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
