//! The queries of an import. Both databases use these queries. The including module is `super`
//! here, and provides everything that differs between the databases.
//!
//! `postgres/mod.rs` and `sqlite/mod.rs` include this file, as they include `queries.rs`.

use diesel::{
    QueryResult, RunQueryDsl as _,
    connection::SimpleConnection as _,
    prelude::{Insertable, QueryableByName},
    sql_query,
    sql_types::BigInt,
};

use super::{
    Connection, OWN_ROW,
    import_staging::{self as staging, ON_CONFLICT, STAGING, app_key_import},
    queries::{KeyRow, prepare_insert},
    source_table as source,
};
use crate::{
    import::{SourceRow, SourceTable, StagedKey},
    store::{
        TransactionError,
        import::{Imports, Stored},
    },
};

/// The columns that the temporary table and `api_keys` have in common.
const COLUMNS: &str =
    "digest, digest_algorithm, hint, name, owner, allowed_ips, scopes, created_at, expires_at";

/// A row of the temporary table. The columns from `digest` on are as in `api_keys`.
#[derive(Insertable)]
#[diesel(table_name = app_key_import)]
struct StagingRow {
    source_row: i64,
    previous_digest: Option<Vec<u8>>,
    digest: Vec<u8>,
    digest_algorithm: String,
    hint: String,
    name: String,
    owner: Option<String>,
    allowed_ips: String,
    scopes: String,
    created_at: chrono::DateTime<chrono::Utc>,
    expires_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl From<&StagedKey> for StagingRow {
    fn from(key: &StagedKey) -> Self {
        let row = KeyRow::from(&key.record);
        Self {
            source_row: i64::try_from(key.row).unwrap_or(i64::MAX),
            previous_digest: key.previous.map(|digest| digest.as_bytes().to_vec()),
            digest: row.digest,
            digest_algorithm: row.digest_algorithm,
            hint: row.hint,
            name: row.name,
            owner: row.owner,
            allowed_ips: row.allowed_ips,
            scopes: row.scopes,
            created_at: row.created_at,
            expires_at: row.expires_at,
        }
    }
}

#[derive(QueryableByName)]
struct RowNumber {
    #[diesel(sql_type = BigInt)]
    source_row: i64,
}

/// The trait `Imports` documents each query.
impl Imports for Connection {
    fn create_staging(&mut self) -> QueryResult<()> {
        self.batch_execute(staging::CREATE)
    }

    fn drop_staging(&mut self) -> QueryResult<()> {
        self.batch_execute(staging::DROP)
    }

    fn stage(&mut self, keys: &[StagedKey]) -> QueryResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let rows: Vec<StagingRow> = keys.iter().map(StagingRow::from).collect();
        diesel::insert_into(app_key_import::table).values(rows).execute(self).map(drop)
    }

    fn store_staged(&mut self, digest_algorithm: &str) -> Result<Stored, TransactionError> {
        self.batch_execute(staging::ANALYZE)?;
        let existing = remove_known(self, &format!("api_keys WHERE {OWN_ROW} AND api_keys"))?;
        let pruned = remove_known(self, "api_key_pruned WHERE api_key_pruned")?;
        let repeated = repeated(self)?;
        if !repeated.is_empty() {
            return Ok(Stored { repeated, ..Stored::default() });
        }
        prepare_insert(self, digest_algorithm, "imported")?;
        let imported = sql_query(format!(
            "INSERT INTO api_keys ({COLUMNS}) SELECT {COLUMNS} FROM {STAGING} ORDER BY seq{ON_CONFLICT}"
        ))
        .execute(self)?;
        let left = sql_query(format!("SELECT count(*) AS source_row FROM {STAGING}"));
        let left: RowNumber = left.get_result(self)?;
        let imported = number(imported);
        // Another import may have stored some of these keys concurrently.
        let overtaken = u64::try_from(left.source_row).unwrap_or(0).saturating_sub(imported);
        Ok(Stored { imported, existing: existing + overtaken, pruned, repeated })
    }

    fn open_source(&mut self, table: &SourceTable) -> QueryResult<u64> {
        source::open(self, table)?;
        let rows = sql_query(format!("SELECT count(*) AS source_row FROM {}", table.quoted()));
        let rows: RowNumber = rows.get_result(self)?;
        Ok(u64::try_from(rows.source_row).unwrap_or(0))
    }

    fn source_rows(
        &mut self,
        table: &SourceTable,
        after: Option<i64>,
        most: usize,
    ) -> QueryResult<Vec<SourceRow>> {
        source::next(self, table, after, most)
    }

    fn erase_source(&mut self, table: &SourceTable) -> QueryResult<u64> {
        source::erase(self, table).map(number)
    }

    fn forget_source(&mut self, table: &SourceTable) -> QueryResult<bool> {
        source::forget(self, table)
    }
}

fn number(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

/// Removes the collected keys whose digest under either pepper is in this table. Returns their
/// number. `table` is the SQL between `FROM` and `.digest`.
fn remove_known(connection: &mut Connection, table: &str) -> QueryResult<u64> {
    let mut removed = 0;
    // Each column has its own statement, because Postgres cannot use a hash join for an OR of two
    // columns.
    for column in ["digest", "previous_digest"] {
        removed += sql_query(format!(
            "DELETE FROM {STAGING} WHERE EXISTS (SELECT 1 FROM {table}.digest = app_key_import.{column})"
        ))
        .execute(connection)?;
    }
    Ok(number(removed))
}

/// Returns the numbers of the rows that repeat the key of an earlier row.
fn repeated(connection: &mut Connection) -> QueryResult<Vec<u64>> {
    let rows: Vec<RowNumber> = sql_query(format!(
        "SELECT source_row FROM ( \
             SELECT source_row, seq, row_number() OVER (PARTITION BY digest ORDER BY seq) AS occurrence FROM {STAGING} \
         ) AS numbered WHERE occurrence > 1 ORDER BY seq"
    ))
    .load(connection)?;
    Ok(rows.into_iter().filter_map(|row| u64::try_from(row.source_row).ok()).collect())
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(<Connection as diesel::Connection>::Backend))]
pub(super) struct ReadRow {
    #[diesel(sql_type = diesel::sql_types::Nullable<BigInt>)]
    number: Option<i64>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    key: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    ips: Option<String>,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    name: Option<String>,
}

impl From<ReadRow> for SourceRow {
    fn from(row: ReadRow) -> Self {
        let ReadRow { number, key, ips, name } = row;
        Self { number, key, ips, name }
    }
}

/// A flag of the key column, which is not 0 if the column cannot be null.
#[derive(QueryableByName)]
pub(super) struct NotNull {
    #[diesel(sql_type = BigInt)]
    pub(super) not_null: i64,
}
