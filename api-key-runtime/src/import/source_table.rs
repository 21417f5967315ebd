//! The table from which keys of another system are imported.

use super::ImportedKey;
use crate::{allowed_ips::AllowedIps, error::Error};

/// The beginning of the text that replaces an erased key in a column that cannot be null.
const BLANK: &str = "erased-";
/// The length of the text that replaces an erased key: `BLANK` and 32 random hexadecimal digits.
const BLANK_CHARS: usize = 39;

/// A table in the same database that contains keys in plain text, for
/// [`Admin::import_table`](crate::admin::Admin::import_table).
///
/// ```
/// use api_key_runtime::admin::SourceTable;
///
/// let table = SourceTable::new("api_auth", "key").ip_column("ip").name_column("description");
/// ```
///
/// Names of tables and columns are case-sensitive on Postgres. The name of a table may begin with a
/// schema and a dot.
///
/// On Postgres, the number of a row is its primary key if that is one integer column. Otherwise,
/// the rows are numbered from 1. On SQLite, the number of a row is its `rowid`, which equals an
/// `INTEGER PRIMARY KEY`.
#[derive(Clone, Debug)]
#[must_use = "no key is imported until the table is passed to `Admin::import_table`"]
pub struct SourceTable {
    table: String,
    key_column: String,
    ip_column: Option<String>,
    name_column: Option<String>,
    allowed_ips: Option<AllowedIps>,
    erases: bool,
}

impl SourceTable {
    /// Returns a source table with this name and this column of keys.
    pub fn new(table: impl Into<String>, key_column: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            key_column: key_column.into(),
            ip_column: None,
            name_column: None,
            allowed_ips: None,
            erases: false,
        }
    }

    /// Sets the column with the IP allow lists. `0.0.0.0` allows any address. A row without a list
    /// is refused.
    pub fn ip_column(mut self, column: impl Into<String>) -> Self {
        self.ip_column = Some(column.into());
        self
    }

    /// Sets the IP allow list of every key, for a table without a column of IP allow lists. Has no
    /// effect if [`ip_column`](Self::ip_column) is set.
    pub fn allowed_ips(mut self, allowed_ips: AllowedIps) -> Self {
        self.allowed_ips = Some(allowed_ips);
        self
    }

    /// Sets the column with the names. The default name is `imported`.
    pub fn name_column(mut self, column: impl Into<String>) -> Self {
        self.name_column = Some(column.into());
        self
    }

    /// Erases all keys from the table, in the transaction of the import. Each key becomes null, or
    /// `erased-` and 32 random digits if the column cannot be null. The database then removes old
    /// copies of the keys: SQLite runs `VACUUM` and empties its log, Postgres runs `VACUUM FULL` on
    /// the table. Backups, replicas and archived logs keep the keys.
    pub fn erase_plaintext(mut self) -> Self {
        self.erases = true;
        self
    }

    /// Returns whether keys are erased.
    pub(crate) fn erases(&self) -> bool {
        self.erases
    }

    /// Returns the schema, if any, and the name of the table.
    pub(crate) fn schema_and_table(&self) -> (Option<&str>, &str) {
        match self.table.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, &self.table),
        }
    }

    pub(crate) fn key_column(&self) -> &str {
        &self.key_column
    }

    pub(crate) fn quoted_key_column(&self) -> String {
        quote(&self.key_column)
    }

    /// Returns the quoted name of the table, with its schema.
    pub(crate) fn quoted(&self) -> String {
        match self.schema_and_table() {
            (Some(schema), table) => format!("{}.{}", quote(schema), quote(table)),
            (None, table) => quote(table),
        }
    }

    /// Returns expressions for the key, the IP allow list and the name of a row of `source`, each
    /// cast to text. Columns are always qualified, because SQLite treats an unknown quoted name as
    /// a string literal.
    pub(crate) fn columns(&self) -> [String; 3] {
        let text = |column: &str| format!("CAST(source.{} AS text)", quote(column));
        let optional = |column: &Option<String>| {
            column.as_deref().map_or_else(|| "CAST(NULL AS text)".to_owned(), text)
        };
        [text(&self.key_column), optional(&self.ip_column), optional(&self.name_column)]
    }

    /// Returns the SQL condition for rows of `source` that contain a key.
    pub(crate) fn has_key(&self) -> String {
        let [key, ..] = self.columns();
        format!(
            "{key} <> '' AND NOT (length({key}) = {BLANK_CHARS} AND substr({key}, 1, {}) = '{BLANK}')",
            BLANK.len()
        )
    }

    /// Returns the key of a row, or `None` if the row has no key. Errors contain no part of the
    /// row, because a key may be in any column.
    pub(crate) fn key_of(&self, row: SourceRow) -> Option<Result<ImportedKey, &'static str>> {
        let given = row.key.filter(|key| !is_blank(key))?;
        let key = ImportedKey::new(given).name(row.name.unwrap_or_default());
        let ips = match (&self.ip_column, &self.allowed_ips) {
            (None, Some(ips)) => ips.as_str().to_owned(),
            _ => row.ips.unwrap_or_default().trim().to_owned(),
        };
        if ips.is_empty() {
            return Some(Err(
                "the row has no IP address: write one, or 0.0.0.0 to allow every address",
            ));
        }
        Some(
            key.allow(ips)
                .map_err(|_| "the IP allow list is not a list of IP addresses and CIDR blocks"),
        )
    }

    /// Checks the names before they become part of a query, and that there are IP allow lists.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let optional = [&self.ip_column, &self.name_column];
        let mut names =
            [&self.table, &self.key_column].into_iter().chain(optional.into_iter().flatten());
        if names.any(|name| name.is_empty() || name.contains('\0')) {
            return Err(Error::invalid_input(
                "cannot import: the name of a table or column is empty or contains NUL",
            ));
        }
        if self.ip_column.is_none() && self.allowed_ips.is_none() {
            return Err(Error::invalid_input(
                "cannot import: the keys have no IP allow list; name the column that contains it, or the list of every key",
            ));
        }
        Ok(())
    }
}

/// Returns whether a text is empty or replaces an erased key.
fn is_blank(key: &str) -> bool {
    key.is_empty() || key.chars().count() == BLANK_CHARS && key.starts_with(BLANK)
}

/// Quotes the name of a table or column for both databases.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A row of a source table.
pub(crate) struct SourceRow {
    /// The integer primary key or `rowid` of the row. `None` if the table has neither.
    pub(crate) number: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) ips: Option<String>,
    pub(crate) name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    // I3
    #[test]
    fn names_are_quoted() {
        let table = SourceTable::new("old.api\"auth", "key; --").ip_column("I P");
        assert_eq!(table.quoted(), "\"old\".\"api\"\"auth\"");
        assert_eq!(
            table.columns(),
            [
                "CAST(source.\"key; --\" AS text)",
                "CAST(source.\"I P\" AS text)",
                "CAST(NULL AS text)"
            ]
        );
        assert!(SourceTable::new("", "key").ip_column("ip").check().is_err());
        assert!(SourceTable::new("t", "k\0").ip_column("ip").check().is_err());
        assert!(SourceTable::new("t", "key").check().is_err());
        assert!(table.check().is_ok());
    }

    // A9
    #[test]
    fn a_row_without_a_key_is_blank() {
        let table = SourceTable::new("t", "key").allowed_ips(AllowedIps::any());
        let blank = format!("erased-{}", "0f".repeat(16));
        for (key, expected) in
            [(None, false), (Some(""), false), (Some(&*blank), false), (Some("erased-0f"), true)]
        {
            let key = key.map(ToOwned::to_owned);
            let row = SourceRow { number: None, key, ips: None, name: None };
            assert_eq!(table.key_of(row).is_some(), expected);
        }
    }
}
