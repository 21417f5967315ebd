//! Imports of keys from another system.

use std::fmt::Display;

use chrono::{DateTime, Utc};

use super::Admin;
use crate::{
    cache::process,
    error::Error,
    import::{ImportProgress, ImportReport, ImportedKey, SourceTable, StagedKey},
    store::{Refusal, TransactionError},
};

impl Admin {
    /// Imports keys from another system in one transaction, so that clients of that system can keep
    /// their keys.
    ///
    /// Each row has a number, such as its line number, which identifies the row in calls to
    /// `progress`. If a row is refused, nothing is imported, and `progress` receives the reason for
    /// each refused row. Keys that are already in the table are skipped, even if they are revoked.
    /// Pruned keys are skipped too. So an import can be repeated. The rows are read one by one, so
    /// memory use does not grow with their number.
    ///
    /// A service accepts imported keys only with
    /// [`accept_imported_keys`](crate::AppKeysBuilder::accept_imported_keys), and this `Admin` must
    /// have the same setting. Native keys do not need the setting. Without a pepper, a key that
    /// could be guessed from its SHA-256 is refused. The estimate of its random bits is the length
    /// times the binary logarithm of the number of distinct characters. The minimum is 80 bits.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use api_key_runtime::{AppKeys, admin::{ImportProgress, ImportedKey}};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("import-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
    /// # let builder = AppKeys::builder().database_url(url).migrate()?;
    /// let admin = builder.accept_imported_keys(true).build_admin()?;
    /// let file = "6fa459ea-ee8a-3ca4-894e-db77e160355e 10.0.0.0/8\n";
    /// let rows = (1..).zip(file.lines().map(|line| {
    ///     let (key, ip) = line.split_once(' ').unwrap_or((line, "0.0.0.0"));
    ///     ImportedKey::new(key).name("old system").allow(ip)
    /// }));
    /// let report = admin.import(rows, |progress| {
    ///     if let ImportProgress::Refused { row, reason, .. } = progress {
    ///         eprintln!("line {row}: {reason}");
    ///     }
    /// })?;
    /// assert_eq!(report.imported, 1);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error in these cases:
    ///
    /// - a row is an error or was refused, for example because an earlier row has the same key;
    /// - a row needs a setting that this `Admin` does not have;
    /// - the stored keys use another pepper;
    /// - the database fails.
    #[doc(alias = "migrate")]
    pub fn import<E: Display>(
        &self,
        rows: impl IntoIterator<Item = (u64, Result<ImportedKey, E>)>,
        mut progress: impl FnMut(ImportProgress<'_>),
    ) -> Result<ImportReport, Error> {
        let mut rows =
            rows.into_iter().map(|(row, key)| (row, key.map_err(|reason| reason.to_string())));
        self.done_import(self.table.import(&self.stage(), &mut rows, &mut progress))
    }

    /// Imports the keys of another table in the same database, as [`import`](Self::import) does.
    ///
    /// With [`SourceTable::erase_plaintext`], the same transaction erases the keys in the source
    /// table.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// use api_key_runtime::{AppKeys, admin::SourceTable};
    /// # use diesel::{SqliteConnection, connection::SimpleConnection as _, prelude::*};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("import-table-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let url = folder.join("shop.db").to_str().ok_or("not Unicode")?.to_owned();
    /// # let builder = AppKeys::builder().database_url(&url).migrate()?;
    /// # SqliteConnection::establish(&url)?.batch_execute(
    /// #     "CREATE TABLE api_auth (id INTEGER PRIMARY KEY, key TEXT, ip TEXT);
    /// #      INSERT INTO api_auth (key, ip)
    /// #      VALUES ('6fa459ea-ee8a-3ca4-894e-db77e160355e', '10.0.0.1')",
    /// # )?;
    /// let admin = builder.accept_imported_keys(true).build_admin()?;
    /// let table = SourceTable::new("api_auth", "key").ip_column("ip").erase_plaintext();
    /// let report = admin.import_table(&table, |_| ())?;
    /// assert_eq!((report.imported, report.erased), (1, 1));
    /// assert_eq!(admin.import_table(&table, |_| ())?.imported, 0);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error in the cases of [`import`](Self::import), and if the table or a column does
    /// not exist. Also returns an error if the keys were imported and erased, but the database
    /// could not remove old copies of the keys. In this case, call this method again.
    pub fn import_table(
        &self,
        source: &SourceTable,
        mut progress: impl FnMut(ImportProgress<'_>),
    ) -> Result<ImportReport, Error> {
        source.check()?;
        let imported = self.table.import_table(&self.stage(), source, &mut progress);
        let report = self.done_import(imported)?;
        if source.erases() && !self.table.is_dry_run() {
            progress(ImportProgress::Forgetting);
            self.table.forget(source)?;
        }
        Ok(report)
    }

    /// Returns the function that checks a row of an import.
    fn stage(&self) -> impl Fn(u64, ImportedKey, DateTime<Utc>) -> Result<StagedKey, Refusal> + '_ {
        |row, key, now| {
            let (rules, digester) = (&self.format_rules, &self.digester);
            key.check_settings(row, rules, digester).map_err(Refusal::OfImport)?;
            key.stage(row, rules, digester, now).map_err(Refusal::OfRow)
        }
    }

    /// Marks every cache entry of this process as stale after an import, which may contain too many
    /// keys to mark their entries one by one.
    fn done_import(
        &self,
        imported: Result<ImportReport, TransactionError>,
    ) -> Result<ImportReport, Error> {
        let report = self.done(imported, |_| [])?;
        if report.imported > 0 && !self.table.is_dry_run() {
            process::apply_everything();
        }
        Ok(report)
    }
}
