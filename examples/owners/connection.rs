//! A connection of either kind, so that queries for Postgres and SQLite are written once.
//!
//! In its own file, because the derive sees every name that is in scope here.
#![allow(missing_debug_implementations, unreachable_pub)]

#[derive(diesel::MultiConnection)]
pub(crate) enum AnyConnection {
    Postgres(diesel::PgConnection),
    Sqlite(diesel::SqliteConnection),
}
