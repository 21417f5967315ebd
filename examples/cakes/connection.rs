//! One type for both kinds of connection: queries that mean the same on Postgres and SQLite are
//! written once, for this type.
//!
//! In a file of its own, because the derive sees every name that is in scope here.
#![allow(missing_debug_implementations, unreachable_pub)]

#[derive(diesel::MultiConnection)]
pub(crate) enum AnyConnection {
    Postgres(diesel::PgConnection),
    Sqlite(diesel::SqliteConnection),
}
