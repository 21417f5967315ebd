//! The Diesel migrations that create and change the key tables.
//!
//! [`AppKeysBuilder::migrate`](crate::AppKeysBuilder::migrate) is enough for most services. A
//! service with its own Diesel migrations [copies](copy) the migrations of this crate into its own
//! folder. The guide's chapter `migrations` compares both approaches.

pub use crate::store::migrations::{DatabaseKind, copy};
use crate::{error::Error, store::Database};

/// Runs the pending migrations on the database at this URL, and returns their versions. Creates the
/// SQLite file if it does not exist.
///
/// Use this function in a program that needs the tables before it builds its `AppKeys`. For
/// example, the program's own migrations may reference the tables. Any number of processes may call
/// this function at once.
///
/// # Errors
/// Returns an error if the URL is invalid, the database is unavailable, or a migration fails. A
/// failed call leaves the tables unchanged.
pub fn run(database_url: &str) -> Result<Vec<String>, Error> {
    crate::store::migrate(&Database::parse(database_url)?)
}
