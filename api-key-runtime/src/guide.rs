//! The guide: one question for each chapter.
//!
//! The [page of the crate](crate#the-guide) lists the chapters in the order in which most services
//! meet them. Every block of Rust is compiled. Blocks that need no server are also run.

/// Includes the chapters. Each chapter is a separate file, so that readers can read it on a forge
/// as well.
///
/// A chapter ends with link definitions for a forge: other chapters and source files. Rustdoc gets
/// the definitions of `rustdoc_links.md` first, and in Markdown the first definition counts.
macro_rules! chapters {
    ($($name:ident)*) => {$(
        // Doctests of the chapters keep keys in files and in memory, so they need these features.
        #[cfg_attr(
            any(
                doc,
                all(doctest, feature = "postgres", feature = "sqlite", feature = "route-audit")
            ),
            doc = include_str!("../guide/rustdoc_links.md"),
            doc = include_str!(concat!("../guide/", stringify!($name), ".md"))
        )]
        #[allow(missing_docs, reason = "a file")]
        pub mod $name {}
    )*};
}

chapters! {
    start
    concepts
    key_locations
    addresses
    browsers
    testing
    migrations
    joins
    freshness
    life
    operations
    logs
    backups
    leaks
    flask
    faq
}
