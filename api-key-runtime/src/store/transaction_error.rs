//! Errors of transactions, and the messages that report them.

use diesel::result::DatabaseErrorKind as Kind;

use super::{Database, StoreError};
use crate::error::Error;
#[cfg(feature = "sqlite")]
use crate::{foreign_texts::is_sqlite_lock, store::sqlite::BUSY_TIMEOUT};

/// The reason for a failed transaction.
pub(crate) enum TransactionError {
    /// The change is not allowed and was rolled back.
    Rejected(Error),
    /// The database failed before the commit, or rejected the commit.
    RolledBack(diesel::result::Error),
    /// The connection failed during the commit, so the change may have been made.
    CommitUnknown(diesel::result::Error),
}

impl From<Error> for TransactionError {
    fn from(error: Error) -> Self {
        Self::Rejected(error)
    }
}

impl From<diesel::result::Error> for TransactionError {
    fn from(error: diesel::result::Error) -> Self {
        Self::RolledBack(error)
    }
}

impl From<TransactionError> for StoreError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Rejected(error) => Self::new(error),
            TransactionError::RolledBack(source) | TransactionError::CommitUnknown(source) => {
                Self::new(source)
            }
        }
    }
}

impl TransactionError {
    /// Returns whether the change may have been made.
    pub(crate) fn maybe_committed(&self) -> bool {
        matches!(self, Self::CommitUnknown(_))
    }

    /// Classifies an error that a commit returned.
    pub(super) fn of_commit(self) -> Self {
        match self {
            // A database checks deferred constraints during the commit. If it reports one of these
            // errors, it has rolled the change back.
            Self::RolledBack(diesel::result::Error::DatabaseError(
                Kind::CheckViolation
                | Kind::ExclusionViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::RestrictViolation
                | Kind::SerializationFailure
                | Kind::UniqueViolation,
                _,
            ))
            | Self::Rejected(_) => self,
            Self::RolledBack(source) | Self::CommitUnknown(source) => Self::CommitUnknown(source),
        }
    }

    /// Adds the lock holder to the error of a change that failed while waiting for a lock.
    pub(super) fn held_up_by(self, database: &Database, holder: Option<String>) -> Self {
        match (self, holder) {
            (Self::RolledBack(source), Some(holder)) => Self::Rejected(Error::database(
                format!("nothing was changed in {database}: {holder}"),
                source,
            )),
            (error, _) => error,
        }
    }

    /// Converts to the error of a transaction that has ended.
    pub(crate) fn into_error(self, database: &Database) -> Error {
        match self {
            Self::Rejected(error) => error,
            #[cfg(feature = "sqlite")]
            Self::RolledBack(source) if is_sqlite_lock(&source) => Error::database(
                format!(
                    "nothing was changed in {database}: another program has been writing to it for \
                     {BUSY_TIMEOUT:?}; run `fuser` with the path of the file to find that program"
                ),
                source,
            ),
            Self::RolledBack(source) => {
                Error::database(format!("nothing was changed in {database}"), source)
            }
            Self::CommitUnknown(source) => Error::database(
                format!(
                    "lost connection to {database} during commit; the change may or may not have been saved. Check with `app-key list` \
                     before retrying"
                ),
                source,
            ),
        }
    }

    /// Converts to an error for a transaction of the application that is still open.
    pub(super) fn into_error_of_open_transaction(self) -> Error {
        self.into_error_or(|source| {
            Error::database("no key was issued; roll back the transaction", source)
        })
    }

    /// Returns the rejection, or converts the database's error with `failed`.
    pub(super) fn into_error_or(
        self,
        failed: impl FnOnce(diesel::result::Error) -> Error,
    ) -> Error {
        match self {
            Self::Rejected(error) => error,
            Self::RolledBack(source) | Self::CommitUnknown(source) => failed(source),
        }
    }
}
