//! Connections of the application's, in whose transactions keys are issued.

use super::TransactionError;
use crate::{Error, KeyRecord};

/// A connection that [`Admin::issue_in_transaction`](crate::Admin::issue_in_transaction) takes: Diesel's own to Postgres or SQLite, or one that is
/// borrowed from a pool of those.
pub trait KeyConnection: sealed::Issue {}

mod sealed {
    use super::{Error, KeyRecord};

    pub trait Issue {
        /// Inserts a new key in the transaction that is open, if one is.
        fn issue_in_transaction(&mut self, new: &KeyRecord) -> Result<KeyRecord, Error>;
    }
}

macro_rules! key_connection {
    ($connection:ty, $queries:path) => {
        impl KeyConnection for $connection {}

        impl sealed::Issue for $connection {
            fn issue_in_transaction(&mut self, new: &KeyRecord) -> Result<KeyRecord, Error> {
                use $queries as queries;
                queries::issue_in_transaction(self, new)
                    .map_err(TransactionError::into_error_of_open_transaction)
            }
        }
    };
}

#[cfg(feature = "postgres")]
key_connection!(diesel::PgConnection, super::postgres::queries);
#[cfg(feature = "postgres")]
key_connection!(super::pool::Pooled<diesel::PgConnection>, super::postgres::queries);
#[cfg(feature = "sqlite")]
key_connection!(diesel::SqliteConnection, super::sqlite::queries);
#[cfg(feature = "sqlite")]
key_connection!(super::pool::Pooled<diesel::SqliteConnection>, super::sqlite::queries);
