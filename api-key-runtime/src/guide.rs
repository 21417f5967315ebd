//! The guide: each chapter answers one question.
//!
//! The [page of the crate](crate#the-guide) lists the chapters in the order in which most services
//! need them. All Rust code blocks are compiled. Code blocks that need no server are also run.

/// Includes the chapters. Each chapter is a separate Markdown file that is also readable on a Git
/// forge.
///
/// Each chapter ends with link definitions that work on a Git forge. `rustdoc_links.md` is included
/// before the chapter and redefines these links for rustdoc, because Markdown uses the first
/// definition.
macro_rules! chapters {
    ($($name:ident)*) => {$(
        // The doctests of the chapters use these features.
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
