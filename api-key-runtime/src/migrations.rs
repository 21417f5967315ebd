//! The Diesel migrations that create and change the key tables.
//!
//! [`AppKeysBuilder::migrate`](crate::AppKeysBuilder::migrate) is enough for most services. A
//! service with Diesel migrations of its own [copies](copy) these beside them; the guide's chapter
//! `migrations` compares the two ways.

pub use crate::store::migrations::{DatabaseKind, copy};
use crate::{error::Error, store::Database};

/// Runs the pending migrations of a database by its URL, creates an SQLite file that does not
/// exist, and returns the versions it ran.
///
/// For a program that needs the tables before it builds its `AppKeys`, such as one whose own
/// migrations refer to them. Any number of processes may call this function at once.
///
/// # Errors
/// Returns an error if the URL is unusable, the database is unavailable, or a migration fails. A
/// failed call changes nothing.
pub fn run(database_url: &str) -> Result<Vec<String>, Error> {
    crate::store::migrate(&Database::parse(database_url)?)
}
