//! What became of a change that did not go well, and what whoever asked for it is told.

use super::Database;
use crate::Error;

/// Why a change was rolled back, or may have been.
pub(crate) enum TransactionError {
    Refused(Error),
    Database(diesel::result::Error),
    /// It failed as it was committed, and the database did not say that it was not.
    Unknown(diesel::result::Error),
}

impl From<Error> for TransactionError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<diesel::result::Error> for TransactionError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

/// What became of a transaction whose change went well and that failed all the same.
pub(super) fn not_committed(aborted: TransactionError) -> TransactionError {
    use diesel::result::{DatabaseErrorKind as Kind, Error::DatabaseError};
    match aborted {
        // A constraint that is checked as late as that.
        TransactionError::Database(
            error @ DatabaseError(
                Kind::CheckViolation
                | Kind::ExclusionViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::RestrictViolation
                | Kind::SerializationFailure
                | Kind::UniqueViolation,
                _,
            ),
        ) => TransactionError::Database(error),
        TransactionError::Database(error) => TransactionError::Unknown(error),
        other => other,
    }
}

impl TransactionError {
    /// Of a transaction of ours.
    pub(crate) fn into_error(self, database: &Database) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Database(source) => {
                Error::database(format!("nothing was changed in {database}"), source)
            }
            Self::Unknown(source) => Error::database(
                format!(
                    "the connection failed just as {database} was to keep the change, so it may be there or not: look with `app-key list` before \
                     you try again"
                ),
                source,
            ),
        }
    }

    /// Of a transaction of the application's, which is not over yet.
    pub(super) fn into_error_of_yours(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Database(source) | Self::Unknown(source) => {
                Error::database("no key was issued: roll the transaction back", source)
            }
        }
    }
}
