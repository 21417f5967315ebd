//! The arguments and the result of importing keys from another system.

mod imported_key;
mod source_table;

pub use self::{imported_key::ImportedKey, source_table::SourceTable};
pub(crate) use self::{imported_key::StagedKey, source_table::SourceRow};

/// The result of an import that refused no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The number of keys that were added to the table.
    pub imported: u64,
    /// The number of rows that were skipped because their keys were already in the table. Such a
    /// key is not changed, even if it is revoked, disabled or expired.
    pub existing: u64,
    /// The number of rows that were skipped because their keys were pruned. Pruned keys stay
    /// invalid.
    pub pruned: u64,
    /// The number of rows of a source table that have no key, for example because an earlier import
    /// erased the key.
    pub blank: u64,
    /// The number of rows of a source table whose key was erased.
    pub erased: u64,
}

/// A step of an import, as passed to the caller's `progress` function.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ImportProgress<'a> {
    /// More rows were read.
    #[non_exhaustive]
    Read {
        /// The number of rows that were read so far.
        rows: u64,
        /// The number of rows of the source table, if a table is imported.
        of: Option<u64>,
    },
    /// A row was refused, so nothing will be imported. The following rows are still checked.
    #[non_exhaustive]
    Refused {
        /// The number of the row: the caller's number, or the number that [`SourceTable`]
        /// describes.
        row: u64,
        /// The caller's error of this row, or the reason why this crate refused the row. The
        /// reasons of this crate contain no part of the row, because a key may be in any column.
        reason: &'a str,
    },
    /// All rows were read. The keys are now being stored.
    Storing,
    /// The keys were stored, and erased from the source table. The database is now removing old
    /// copies of the keys.
    Forgetting,
}
