//! A connection to Postgres or SQLite, so that each query is written only once.
//!
//! This type has its own file. The derived code imports everything from that file, so other items
//! in the file could conflict with the derived names.
#![allow(missing_debug_implementations, unreachable_pub)]

#[derive(diesel::MultiConnection)]
pub(crate) enum AnyConnection {
    Postgres(diesel::PgConnection),
    Sqlite(diesel::SqliteConnection),
}
