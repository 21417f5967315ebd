//! Imports of keys. The keys are first collected in a temporary table, which contains their
//! digests, not the keys themselves. One statement then stores all keys, so that statement triggers
//! on Postgres run once.

use chrono::{DateTime, Utc};
use diesel::QueryResult;

use super::{Table, TransactionError, connection::Summary};
use crate::{
    error::Error,
    import::{ImportProgress, ImportReport, ImportedKey, SourceRow, SourceTable, StagedKey},
};

/// The number of rows in memory at the same time. Postgres binds at most 65535 values to a
/// statement, and each row has eleven values.
const BATCH_ROWS: usize = 2000;

/// The queries of an import, which run in one transaction.
pub(crate) trait Imports {
    /// Creates an empty temporary table for the collected keys.
    fn create_staging(&mut self) -> QueryResult<()>;
    /// Drops the temporary table.
    fn drop_staging(&mut self) -> QueryResult<()>;
    /// Adds keys to the temporary table.
    fn stage(&mut self, keys: &[StagedKey]) -> QueryResult<()>;
    /// Stores the collected keys that are neither in the table nor pruned. If one of these keys was
    /// collected several times, stores nothing.
    fn store_staged(&mut self, digest_algorithm: &str) -> Result<Stored, TransactionError>;

    /// Begins to read a source table, and returns the number of its rows. If its keys are to be
    /// erased, locks the table until the transaction ends.
    fn open_source(&mut self, source: &SourceTable) -> QueryResult<u64>;
    /// Returns the next rows of a source table, in order. `after` is the number of the last row so
    /// far.
    fn source_rows(
        &mut self,
        source: &SourceTable,
        after: Option<i64>,
        most: usize,
    ) -> QueryResult<Vec<SourceRow>>;
    /// Erases the keys of a source table. Returns the number of erased keys.
    fn erase_source(&mut self, source: &SourceTable) -> QueryResult<u64>;
    /// Removes old copies of erased keys from the database, outside a transaction. Returns `false`
    /// if old copies remain.
    fn forget_source(&mut self, source: &SourceTable) -> QueryResult<bool>;
}

/// The result of storing the collected keys.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) imported: u64,
    pub(crate) existing: u64,
    pub(crate) pruned: u64,
    /// The rows that repeat the key of an earlier row. If there is such a row, nothing was stored.
    pub(crate) repeated: Vec<u64>,
}

/// The reason why a row was refused.
pub(crate) enum Refusal {
    /// The row is invalid. The remaining rows are still checked.
    OfRow(Error),
    /// A setting must be changed, so no other row is checked.
    OfImport(Error),
}

type Stage<'a> = &'a dyn Fn(u64, ImportedKey, DateTime<Utc>) -> Result<StagedKey, Refusal>;
type Progress<'a> = &'a mut dyn FnMut(ImportProgress<'_>);
type Rows = Vec<(u64, Result<ImportedKey, String>)>;

impl Table {
    /// Imports the keys of these rows.
    pub(crate) fn import(
        &self,
        stage: Stage<'_>,
        rows: &mut dyn Iterator<Item = (u64, Result<ImportedKey, String>)>,
        progress: Progress<'_>,
    ) -> Result<ImportReport, TransactionError> {
        self.change(Some(Summary::Imported), |queries| {
            let imports = queries.imports();
            let mut import = Import::begin(imports, stage, progress, self.now(), None)?;
            loop {
                let batch: Rows = rows.take(BATCH_ROWS).collect();
                if batch.is_empty() {
                    return import.end(imports);
                }
                import.add(imports, batch)?;
            }
        })
    }

    /// Imports the keys of a table, and erases the keys in that table if requested.
    pub(crate) fn import_table(
        &self,
        stage: Stage<'_>,
        source: &SourceTable,
        progress: Progress<'_>,
    ) -> Result<ImportReport, TransactionError> {
        self.change(Some(Summary::Imported), |queries| {
            let imports = queries.imports();
            let of = imports.open_source(source)?;
            let mut import = Import::begin(imports, stage, progress, self.now(), Some(of))?;
            let (mut last, mut position, mut blank) = (None, 0, 0);
            loop {
                let rows = imports.source_rows(source, last, BATCH_ROWS)?;
                last = rows.last().and_then(|row| row.number).or(last);
                if rows.is_empty() {
                    break;
                }
                let mut batch = Rows::with_capacity(rows.len());
                for row in rows {
                    position += 1;
                    let number = row.number.and_then(|number| u64::try_from(number).ok());
                    match source.key_of(row) {
                        None => blank += 1,
                        Some(key) => {
                            let key = key.map_err(ToOwned::to_owned);
                            batch.push((number.unwrap_or(position), key));
                        }
                    }
                }
                import.add(imports, batch)?;
            }
            let mut report = import.end(imports)?;
            report.blank = blank;
            if source.erases() {
                report.erased = imports.erase_source(source)?;
            }
            Ok(report)
        })
    }

    /// Removes old copies of erased keys from the database.
    pub(crate) fn forget(&self, source: &SourceTable) -> Result<(), Error> {
        let failed = format!(
            "the keys were imported and erased from the source table, but {} may still contain old copies of them; \
             run the same import again to remove these copies",
            self.database
        );
        match self.connect()?.queries().imports().forget_source(source) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::conflict(format!(
                "{failed}: another program still reads old copies, or this role may not vacuum the source table"
            ))),
            Err(source) => Err(Error::database(failed, source)),
        }
    }
}

/// An import in progress.
struct Import<'a> {
    stage: Stage<'a>,
    progress: Progress<'a>,
    now: DateTime<Utc>,
    /// The number of rows of the source table. `None` if the rows do not come from a table.
    of: Option<u64>,
    rows: u64,
    refused: u64,
    /// The digest algorithm of the keys. `None` before the first key.
    digest_algorithm: Option<String>,
}

impl<'a> Import<'a> {
    fn begin(
        imports: &mut dyn Imports,
        stage: Stage<'a>,
        progress: Progress<'a>,
        now: DateTime<Utc>,
        of: Option<u64>,
    ) -> QueryResult<Self> {
        imports.create_staging()?;
        Ok(Self { stage, progress, now, of, rows: 0, refused: 0, digest_algorithm: None })
    }

    /// Checks these rows and collects their keys.
    fn add(&mut self, imports: &mut dyn Imports, batch: Rows) -> Result<(), TransactionError> {
        let mut keys = Vec::with_capacity(batch.len());
        for (row, key) in batch {
            self.rows += 1;
            let staged = match key {
                Ok(key) => (self.stage)(row, key, self.now).map_err(|refusal| match refusal {
                    Refusal::OfRow(error) => Ok(error.to_string()),
                    Refusal::OfImport(error) => Err(error),
                }),
                Err(reason) => Err(Ok(reason)),
            };
            match staged {
                Ok(staged) => keys.push(staged),
                Err(Ok(reason)) => self.refuse(row, &reason),
                Err(Err(error)) => return Err(error.into()),
            }
        }
        if let Some(key) = keys.first() {
            self.digest_algorithm = Some(key.record.digest_algorithm.as_str().to_owned());
        }
        // After a row was refused, the remaining rows are checked but not collected.
        if self.refused == 0 {
            imports.stage(&keys)?;
        }
        (self.progress)(ImportProgress::Read { rows: self.rows, of: self.of });
        Ok(())
    }

    fn refuse(&mut self, row: u64, reason: &str) {
        self.refused += 1;
        (self.progress)(ImportProgress::Refused { row, reason });
    }

    /// Stores the collected keys, and drops the temporary table. Fails if a row was refused; the
    /// rollback then removes the table.
    fn end(mut self, imports: &mut dyn Imports) -> Result<ImportReport, TransactionError> {
        let mut stored = Stored::default();
        if let (0, Some(algorithm)) = (self.refused, &self.digest_algorithm) {
            (self.progress)(ImportProgress::Storing);
            stored = imports.store_staged(algorithm)?;
        }
        for row in stored.repeated {
            self.refuse(row, "an earlier row has the same key; merge both rows into one");
        }
        let Self { rows, refused, .. } = self;
        if refused > 0 {
            return Err(Error::invalid_input(format!(
                "nothing was imported: {refused} of {rows} rows were refused; correct these rows and import again"
            ))
            .into());
        }
        imports.drop_staging()?;
        let Stored { imported, existing, pruned, .. } = stored;
        Ok(ImportReport { imported, existing, pruned, ..ImportReport::default() })
    }
}
