//! Reading and erasing the keys of another table on SQLite.

use diesel::{
    OptionalExtension as _, QueryResult, RunQueryDsl as _,
    connection::SimpleConnection as _,
    prelude::QueryableByName,
    sql_query,
    sql_types::{BigInt, Text},
};

use super::{
    Connection,
    import_queries::{NotNull, ReadRow},
    merge_log, names_of,
};
use crate::import::{SourceRow, SourceTable};

/// Does nothing, because the rows are read in the order of their `rowid`, and the transaction locks
/// the file.
#[allow(clippy::unnecessary_wraps, reason = "as on Postgres")]
pub(super) fn open(_: &mut Connection, _: &SourceTable) -> QueryResult<()> {
    Ok(())
}

pub(super) fn next(
    connection: &mut Connection,
    source: &SourceTable,
    after: Option<i64>,
    most: usize,
) -> QueryResult<Vec<SourceRow>> {
    let [key, ips, name] = source.columns();
    let after = after.map_or_else(String::new, |after| format!(" WHERE source._rowid_ > {after}"));
    let rows: Vec<ReadRow> = sql_query(format!(
        "SELECT source._rowid_ AS number, {key} AS key, {ips} AS ips, {name} AS name \
           FROM {} AS source{after} ORDER BY source._rowid_ LIMIT {most}",
        source.quoted()
    ))
    .load(connection)?;
    Ok(rows.into_iter().map(SourceRow::from).collect())
}

/// Sets the keys to null, or to a random text if the column cannot be null, and overwrites the old
/// keys in the file. The text is random, because the old program may still accept every text in the
/// column.
pub(super) fn erase(connection: &mut Connection, source: &SourceTable) -> QueryResult<usize> {
    #[derive(QueryableByName)]
    struct SecureDelete {
        #[diesel(sql_type = BigInt)]
        secure_delete: i64,
    }
    let (schema, table) = source.schema_and_table();
    let column: Option<NotNull> = sql_query(
        "SELECT \"notnull\" OR pk > 0 AS not_null FROM pragma_table_info(?, ?) WHERE name = ? COLLATE NOCASE",
    )
    .bind::<Text, _>(table)
    .bind::<Text, _>(schema.unwrap_or("main"))
    .bind::<Text, _>(source.key_column())
    .get_result(connection)
    .optional()?;
    let blank = if column.is_some_and(|column| column.not_null != 0) {
        "'erased-' || lower(hex(randomblob(16)))"
    } else {
        "NULL"
    };
    let column = source.quoted_key_column();
    let before: SecureDelete = sql_query("PRAGMA secure_delete").get_result(connection)?;
    connection.batch_execute("PRAGMA secure_delete = ON")?;
    let erased = sql_query(format!(
        "UPDATE {} AS source SET {column} = {blank} WHERE {}",
        source.quoted(),
        source.has_key()
    ))
    .execute(connection);
    connection.batch_execute(&format!("PRAGMA secure_delete = {}", before.secure_delete))?;
    erased
}

/// Rewrites the file without its free pages, and empties the write-ahead log. The statistics of an
/// index contain some of its keys, so the statistics are rebuilt first.
pub(super) fn forget(connection: &mut Connection, source: &SourceTable) -> QueryResult<bool> {
    let statistics =
        names_of(connection, "SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat_'")?;
    if !statistics.is_empty() {
        connection.batch_execute(&format!("ANALYZE {}", source.quoted()))?;
    }
    connection.batch_execute("VACUUM")?;
    merge_log(connection)
}
