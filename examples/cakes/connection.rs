//! A connection of either kind, so that queries for Postgres and SQLite are written once.
//!
//! This type has its own file, because the derived code sees every name in scope.
#![allow(missing_debug_implementations, unreachable_pub)]

#[derive(diesel::MultiConnection)]
pub(crate) enum AnyConnection {
    Postgres(diesel::PgConnection),
    Sqlite(diesel::SqliteConnection),
}
