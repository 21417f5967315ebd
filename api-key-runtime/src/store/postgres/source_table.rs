//! Reading and erasing the keys of another table on Postgres.

use std::{
    thread,
    time::{Duration, Instant},
};

use diesel::{
    OptionalExtension as _, QueryResult, RunQueryDsl as _, connection::SimpleConnection as _,
    sql_query, sql_types::Text,
};

use super::{
    Connection, Name,
    import_queries::{NotNull, ReadRow},
};
use crate::import::{SourceRow, SourceTable};

/// How long erasing waits for transactions that still see the old rows.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a cursor over the rows, ordered by the integer primary key if the table has one. Locks out
/// writers if keys are to be erased, because keys added during the import would be erased without
/// being imported.
pub(super) fn open(connection: &mut Connection, source: &SourceTable) -> QueryResult<()> {
    let table = source.quoted();
    if source.erases() {
        connection.batch_execute(&format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))?;
    }
    let [key, ips, name] = source.columns();
    let (number, order) = match number_column(connection, &table)? {
        Some(column) => (format!("CAST(source.{column} AS bigint)"), " ORDER BY 1"),
        None => ("CAST(NULL AS bigint)".to_owned(), ""),
    };
    connection.batch_execute(&format!(
        "DECLARE app_key_import NO SCROLL CURSOR FOR \
         SELECT {number} AS number, {key} AS key, {ips} AS ips, {name} AS name FROM {table} AS source{order}"
    ))
}

/// Returns the quoted name of the primary key column, if the primary key is a single integer
/// column.
fn number_column(connection: &mut Connection, table: &str) -> QueryResult<Option<String>> {
    let column: Option<Name> = sql_query(
        "SELECT pg_catalog.quote_ident(a.attname) AS name \
           FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
          WHERE i.indrelid = pg_catalog.to_regclass($1) AND i.indisprimary AND i.indnkeyatts = 1 \
            AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)",
    )
    .bind::<Text, _>(table)
    .get_result(connection)
    .optional()?;
    Ok(column.map(|column| column.name))
}

/// Reads the next rows of the cursor.
pub(super) fn next(
    connection: &mut Connection,
    _: &SourceTable,
    _after: Option<i64>,
    most: usize,
) -> QueryResult<Vec<SourceRow>> {
    let rows: Vec<ReadRow> =
        sql_query(format!("FETCH FORWARD {most} FROM app_key_import")).load(connection)?;
    Ok(rows.into_iter().map(SourceRow::from).collect())
}

/// Sets the keys to null, or to a random text if the column cannot be null. The text is random,
/// because the old program may still accept every text in the column.
pub(super) fn erase(connection: &mut Connection, source: &SourceTable) -> QueryResult<usize> {
    let column: Option<NotNull> = sql_query(
        "SELECT attnotnull::integer::bigint AS not_null FROM pg_catalog.pg_attribute \
          WHERE attrelid = pg_catalog.to_regclass($1) AND attname = $2",
    )
    .bind::<Text, _>(source.quoted())
    .bind::<Text, _>(source.key_column())
    .get_result(connection)
    .optional()?;
    let blank = if column.is_some_and(|column| column.not_null != 0) {
        "'erased-' || pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', '')"
    } else {
        "NULL"
    };
    let column = source.quoted_key_column();
    connection.batch_execute("CLOSE app_key_import")?;
    sql_query(format!(
        "UPDATE {} AS source SET {column} = {blank} WHERE {}",
        source.quoted(),
        source.has_key()
    ))
    .execute(connection)
}

/// Rewrites the table and its statistics, and deletes the old file. Returns `false` if the old file
/// remains: the role may not vacuum the table, or a transaction still sees the old rows.
pub(super) fn forget(connection: &mut Connection, source: &SourceTable) -> QueryResult<bool> {
    let table = source.quoted();
    let readers = old_snapshots(connection)?;
    let until = Instant::now() + SNAPSHOT_TIMEOUT;
    while old_snapshots(connection)?.iter().any(|reader| readers.contains(reader)) {
        if Instant::now() >= until {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(100));
    }
    let before = file_of(connection, &table)?;
    connection.batch_execute("SET lock_timeout = '30s'")?;
    let vacuumed = connection.batch_execute(&format!("VACUUM (FULL, ANALYZE) {table}"));
    connection.batch_execute("RESET lock_timeout")?;
    vacuumed?;
    // If VACUUM skips a table, Postgres returns a warning instead of an error, so the files are
    // compared.
    Ok(before != file_of(connection, &table)?)
}

/// Returns the transactions of this database that may still see deleted rows.
fn old_snapshots(connection: &mut Connection) -> QueryResult<Vec<String>> {
    let readers: Vec<Name> = sql_query(
        "SELECT concat(pid, ' ', backend_xmin) AS name FROM pg_catalog.pg_stat_activity \
          WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_catalog.pg_backend_pid() \
         UNION ALL SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()",
    )
    .load(connection)?;
    Ok(readers.into_iter().map(|reader| reader.name).collect())
}

/// Returns the number of the table's file, or an empty text for a view.
fn file_of(connection: &mut Connection, table: &str) -> QueryResult<String> {
    let file: Name = sql_query(
        "SELECT coalesce(pg_catalog.pg_relation_filenode(pg_catalog.to_regclass($1))::text, '') AS name",
    )
    .bind::<Text, _>(table)
    .get_result(connection)?;
    Ok(file.name)
}
