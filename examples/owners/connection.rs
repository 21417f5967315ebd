//! A connection to Postgres or SQLite, so that each query is written only once.
//!
//! This type has its own file, because the derived code imports every name of the module.
#![allow(missing_debug_implementations, unreachable_pub)]

#[derive(diesel::MultiConnection)]
pub(crate) enum AnyConnection {
    Postgres(diesel::PgConnection),
    Sqlite(diesel::SqliteConnection),
}
