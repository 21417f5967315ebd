//! The arguments and the result of an import of keys from another system.

mod imported_key;
mod source_table;

pub use self::{imported_key::ImportedKey, source_table::SourceTable};
pub(crate) use self::{imported_key::StagedKey, source_table::SourceRow};

/// The result of an import that refused no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The number of keys that are new in the table.
    pub imported: u64,
    /// The number of rows that were skipped, because their key is in the table already. A revoked,
    /// disabled or expired key stays as it is.
    pub existing: u64,
    /// The number of rows that were skipped, because their key was pruned. The key stays invalid.
    pub pruned: u64,
    /// The number of rows of a source table that have no key, such as the rows of an earlier import
    /// that erased them.
    pub blank: u64,
    /// The number of rows of a source table whose key was erased.
    pub erased: u64,
}

/// A step of an import, as passed to the function that the caller provides.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ImportProgress<'a> {
    /// A number of rows was read.
    #[non_exhaustive]
    Read {
        /// The number of rows that were read so far.
        rows: u64,
        /// The number of rows of the source table, if a table is imported.
        of: Option<u64>,
    },
    /// A row was refused, so nothing will be imported. The other rows are still checked.
    #[non_exhaustive]
    Refused {
        /// The number of the row, as the caller gave it or [`SourceTable`] defines it.
        row: u64,
        /// The reason. It contains no part of the row, because a key may be in any column.
        reason: &'a str,
    },
    /// All rows were read. The keys are now stored.
    Storing,
    /// The keys are stored and erased from the source table. The database now removes old copies.
    Forgetting,
}
