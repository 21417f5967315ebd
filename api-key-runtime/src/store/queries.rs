//! The queries of both databases.
//!
//! `postgres/mod.rs` and `sqlite/mod.rs` include this file. The including module is `super` here,
//! and provides the connection type and everything that differs between the databases. So there are
//! two `KeyRow` types and two `UNREADABLE` statics.

use std::{array::TryFromSliceError, ops::RangeInclusive};

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension as _,
    connection::{AnsiTransactionManager, TransactionManager as _},
    dsl::{auto_type, sql},
    expression::SqlLiteral,
    prelude::*,
    r2d2::R2D2Connection,
    result::Error::{DeserializationError, QueryBuilderError},
    sql_types::{Bool, Text},
};

use super::{
    Connection, OWN_ROW, OwnKeys, PRIMARY, TRIGGERS, enabled_triggers,
    events::events,
    existing_tables, hides_rows, is_standby, is_within_transaction,
    listing::list,
    lock_holder, lock_row, mend_identity, merge_log, migrate, own_keys,
    prune::{count_due, prune_events, prune_keys},
    schema::{api_key_meta, api_key_usage, api_keys},
    server_number, state_actor, tables_elsewhere, time,
    usage::record as record_usage,
    write,
};
use crate::{
    allowed_ips::AllowedIps,
    error::Error,
    key::{DigestAlgorithm, KeyDigest},
    key_event::KeyEvent,
    key_record::KeyRecord,
    key_usage::KeyUsage,
    list_keys::ListKeys,
    log,
    log_throttle::LogThrottle,
    prune::{Due, Pruned},
    scope::ScopeSet,
    store::{
        Database, FromPrimary, Queries, SchemaVersion, TransactionError,
        connection::{Elsewhere, Recorded},
        import::Imports,
    },
};

/// The ids of the keys whose unreadable rows were logged.
static UNREADABLE: LogThrottle<i64> = LogThrottle::new();

/// A row of `api_keys` as stored in the table. An insert omits the columns that the database or
/// later changes set.
#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
#[allow(missing_docs, reason = "the columns are described by `KeyRecord`")]
#[non_exhaustive]
pub struct KeyRow {
    #[diesel(skip_insertion)]
    pub id: i64,
    pub digest: Vec<u8>,
    pub digest_algorithm: String,
    pub hint: String,
    pub name: String,
    pub owner: Option<String>,
    pub allowed_ips: String,
    pub scopes: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    #[diesel(skip_insertion)]
    pub disabled_at: Option<DateTime<Utc>>,
    #[diesel(skip_insertion)]
    pub revoked_at: Option<DateTime<Utc>>,
    #[diesel(skip_insertion)]
    pub replaced_by: Option<i64>,
}

/// A row of `api_key_usage`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = api_key_usage)]
struct UsageRow {
    key_id: i64,
    last_used_at: DateTime<Utc>,
    last_used_ip: Option<String>,
    use_count: i64,
}

impl std::fmt::Debug for KeyRow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, hint, name, .. } = self;
        formatter
            .debug_struct("KeyRow")
            .field("id", id)
            .field("hint", hint)
            .field("name", name)
            .finish_non_exhaustive()
    }
}

/// Fails if the digest does not have 32 bytes. A constraint of the table excludes such rows.
impl TryFrom<KeyRow> for KeyRecord {
    type Error = TryFromSliceError;

    fn try_from(row: KeyRow) -> Result<Self, TryFromSliceError> {
        Ok(Self {
            id: row.id,
            digest: KeyDigest::from_bytes(row.digest.as_slice().try_into()?),
            digest_algorithm: DigestAlgorithm::from_stored(&row.digest_algorithm),
            hint: row.hint,
            name: row.name,
            owner: row.owner,
            allowed_ips: AllowedIps::from_stored(&row.allowed_ips),
            scopes: ScopeSet::from_stored(&row.scopes),
            created_at: row.created_at,
            expires_at: row.expires_at,
            disabled_at: row.disabled_at,
            revoked_at: row.revoked_at,
            replaced_by: row.replaced_by,
        })
    }
}

impl From<&KeyRecord> for KeyRow {
    fn from(record: &KeyRecord) -> Self {
        Self {
            id: record.id,
            digest: record.digest.as_bytes().to_vec(),
            digest_algorithm: record.digest_algorithm.as_str().to_owned(),
            hint: record.hint.clone(),
            name: record.name.clone(),
            owner: record.owner.clone(),
            allowed_ips: record.allowed_ips.as_str().to_owned(),
            scopes: record.scopes.as_str().to_owned(),
            created_at: record.created_at,
            expires_at: record.expires_at,
            disabled_at: record.disabled_at,
            revoked_at: record.revoked_at,
            replaced_by: record.replaced_by,
        }
    }
}

/// The trait `Queries` documents each query.
impl Queries for Connection {
    fn find(&mut self, digests: &[KeyDigest]) -> QueryResult<FromPrimary<KeyRecord>> {
        let digests: Vec<&[u8]> =
            digests.iter().map(|digest| digest.as_bytes().as_slice()).collect();
        match find_at_once(self, &digests) {
            Err(DeserializationError(_)) => find_one_by_one(self, &digests),
            found => found,
        }
    }

    fn list(&mut self, wanted: &ListKeys, now: DateTime<Utc>) -> QueryResult<Vec<KeyRecord>> {
        list(self, wanted, now)
    }

    fn get(&mut self, id: i64) -> QueryResult<Option<KeyRecord>> {
        let row = api_keys::table
            .filter(api_keys::id.eq(id).and(own_row()))
            .select(KeyRow::as_select())
            .first(self)
            .optional()?;
        row.map(record).transpose()
    }

    fn usage(&mut self, ids: &RangeInclusive<i64>) -> QueryResult<Vec<KeyUsage>> {
        let selected = api_key_usage::table
            .filter(api_key_usage::key_id.between(ids.start(), ids.end()))
            .order(api_key_usage::key_id);
        let rows = selected.select(UsageRow::as_select()).load(self)?;
        Ok(rows.into_iter().map(key_usage).collect())
    }

    fn usage_of_keys(&mut self, ids: &[i64]) -> QueryResult<Vec<KeyUsage>> {
        let selected = api_key_usage::table.filter(api_key_usage::key_id.eq_any(ids));
        let rows = selected.select(UsageRow::as_select()).load(self)?;
        Ok(rows.into_iter().map(key_usage).collect())
    }

    fn usage_of(&mut self, id: i64) -> QueryResult<Option<KeyUsage>> {
        let one = api_key_usage::table.find(id);
        let row = one.select(UsageRow::as_select()).first(self).optional()?;
        Ok(row.map(key_usage))
    }

    fn write(
        &mut self,
        recorded: Recorded<'_>,
        change: &mut dyn FnMut(&mut dyn Queries) -> Result<(), TransactionError>,
    ) -> Result<(), TransactionError> {
        write(self, recorded, |connection| change(connection))
    }

    fn state_actor(&mut self, actor: Option<&str>) -> QueryResult<Option<String>> {
        state_actor(self, actor)
    }

    fn issue(&mut self, new: &KeyRecord) -> Result<KeyRecord, TransactionError> {
        prepare_insert(self, new.digest_algorithm.as_str(), "issued")?;
        Ok(insert(self, new)?)
    }

    fn lock(&mut self, id: i64) -> Result<KeyRecord, TransactionError> {
        lock_row(self, id)?;
        existing(self, id)
    }

    fn save(
        &mut self,
        before: &KeyRecord,
        after: &KeyRecord,
    ) -> Result<KeyRecord, TransactionError> {
        if before == after {
            return Ok(after.clone());
        }
        let row = KeyRow::from(after);
        // Sets only changed columns, so that unchanged texts keep their stored form.
        diesel::update(api_keys::table.filter(api_keys::id.eq(row.id).and(own_row())))
            .set((
                (before.name != after.name).then(|| api_keys::name.eq(row.name)),
                (before.owner != after.owner).then(|| api_keys::owner.eq(row.owner)),
                (before.allowed_ips != after.allowed_ips)
                    .then(|| api_keys::allowed_ips.eq(row.allowed_ips)),
                (before.scopes != after.scopes).then(|| api_keys::scopes.eq(row.scopes)),
                (before.expires_at != after.expires_at)
                    .then(|| api_keys::expires_at.eq(row.expires_at)),
                (before.disabled_at != after.disabled_at)
                    .then(|| api_keys::disabled_at.eq(row.disabled_at)),
                (before.revoked_at != after.revoked_at)
                    .then(|| api_keys::revoked_at.eq(row.revoked_at)),
                (before.replaced_by != after.replaced_by)
                    .then(|| api_keys::replaced_by.eq(row.replaced_by)),
            ))
            .execute(self)?;
        let stored = existing(self, row.id)?;
        if stored == *after {
            return Ok(stored);
        }
        Err(Error::conflict(format!(
            "key {} was not changed: a trigger or rule of api_keys kept the row as it was; drop \
             that trigger or rule, or change the key by SQL",
            row.id
        ))
        .into())
    }

    fn events(&mut self, key_id: i64, limit: u32) -> QueryResult<Vec<KeyEvent>> {
        events(self, key_id, limit)
    }

    fn count_due(&mut self, due: &Due) -> QueryResult<Pruned> {
        count_due(self, due)
    }

    fn prune_keys(
        &mut self,
        due: &Due,
        after: i64,
    ) -> Result<Vec<(i64, KeyDigest)>, TransactionError> {
        prune_keys(self, due, after)
    }

    fn prune_events(&mut self, until: DateTime<Utc>) -> Result<usize, TransactionError> {
        prune_events(self, until)
    }

    fn count_live_except(&mut self, ways: &[&str], now: DateTime<Utc>) -> QueryResult<i64> {
        let live = own_row()
            .and(api_keys::revoked_at.is_null())
            .and(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)));
        api_keys::table
            .filter(live.and(api_keys::digest_algorithm.ne_all(ways)))
            .count()
            .get_result(self)
    }

    fn schema_version(&mut self) -> QueryResult<Option<SchemaVersion>> {
        let row: Option<(i32, i32)> = api_key_meta::table
            .select((api_key_meta::schema_version, api_key_meta::compatible_from))
            .first(self)
            .optional()?;
        Ok(row.map(|(version, compatible_from)| SchemaVersion { version, compatible_from }))
    }

    fn digest_algorithm(&mut self) -> QueryResult<Option<String>> {
        Ok(api_key_meta::table
            .select(api_key_meta::digest_algorithm)
            .first(self)
            .optional()?
            .flatten())
    }

    fn claim_digest_algorithm(&mut self, before: Option<&str>, now: &str) -> QueryResult<bool> {
        let set = api_key_meta::digest_algorithm.eq(now);
        let changed = match before {
            None => {
                diesel::update(api_key_meta::table.filter(api_key_meta::digest_algorithm.is_null()))
                    .set(set)
                    .execute(self)?
            }
            Some(before) => diesel::update(
                api_key_meta::table.filter(api_key_meta::digest_algorithm.eq(before)),
            )
            .set(set)
            .execute(self)?,
        };
        Ok(changed == 1)
    }

    fn record_usage(&mut self, usage: &[KeyUsage]) -> QueryResult<()> {
        record_usage(self, usage)
    }

    fn imports(&mut self) -> &mut dyn Imports {
        self
    }

    fn migrate(&mut self, database: &Database) -> Result<Vec<String>, TransactionError> {
        migrate(self, database)
    }

    fn is_standby(&mut self) -> QueryResult<bool> {
        is_standby(self)
    }

    fn existing_tables(&mut self, wanted: &[&str]) -> QueryResult<Vec<String>> {
        existing_tables(self, wanted)
    }

    fn tables_elsewhere(&mut self) -> QueryResult<Option<Elsewhere>> {
        tables_elsewhere(self)
    }

    fn hides_rows(&mut self) -> QueryResult<bool> {
        hides_rows(self)
    }

    fn required_triggers(&self) -> &'static [&'static str] {
        TRIGGERS
    }

    fn enabled_triggers(&mut self) -> QueryResult<Vec<String>> {
        enabled_triggers(self)
    }

    fn is_within_transaction(&mut self) -> bool {
        let status = AnsiTransactionManager::transaction_manager_status_mut(self);
        let is_known = matches!(status.transaction_depth(), Ok(Some(_)));
        !is_known && is_within_transaction(self)
    }

    fn time(&mut self) -> QueryResult<Option<DateTime<Utc>>> {
        time(self)
    }

    fn lock_holder(&mut self) -> QueryResult<Option<String>> {
        lock_holder(self)
    }

    fn merge_log(&mut self) -> QueryResult<bool> {
        merge_log(self)
    }

    fn is_broken(&mut self) -> bool {
        R2D2Connection::is_broken(self)
    }
}

/// Returns the condition that excludes rows of tables that inherit from `api_keys`.
pub(super) fn own_row() -> SqlLiteral<Bool> {
    sql(OWN_ROW)
}

/// Joins the row of `api_key_meta` with each of these keys. Even if none of the keys exists, the
/// result has a row, which shows the identity of the server.
#[auto_type]
fn keys_beside_meta<'a>(digests: &'a [&'a [u8]]) -> _ {
    let own_keys: OwnKeys = own_keys();
    let keys = own_keys.on(api_keys::digest.eq_any(digests));
    api_key_meta::table.left_join(keys)
}

fn find_at_once(
    connection: &mut Connection,
    digests: &[&[u8]],
) -> QueryResult<FromPrimary<KeyRecord>> {
    let rows = keys_beside_meta(digests)
        .filter(api_key_meta::id.eq(1))
        .select((sql::<Text>(PRIMARY), Option::<KeyRow>::as_select()))
        .load(connection)?;
    let FromPrimary { server, rows } = from_primary(rows)?;
    Ok(FromPrimary { server, rows: records(rows)? })
}

/// Reads the keys one by one, and skips rows that cannot be decoded. Fails if the server changes
/// between two reads.
fn find_one_by_one(
    connection: &mut Connection,
    digests: &[&[u8]],
) -> QueryResult<FromPrimary<KeyRecord>> {
    let rows = keys_beside_meta(digests)
        .filter(api_key_meta::id.eq(1))
        .select((sql::<Text>(PRIMARY), (api_keys::id, api_keys::digest).nullable()))
        .load(connection)?;
    let FromPrimary { server, rows: keys } = from_primary::<(i64, Vec<u8>)>(rows)?;
    let mut records = Vec::with_capacity(keys.len());
    for (id, digest) in keys {
        match find_at_once(connection, &[&digest]) {
            Ok(found) if found.server == server => records.extend(found.rows),
            Ok(_) => return Err(refused("the server changed between two queries")),
            Err(DeserializationError(error)) => log_unreadable(id, &*error),
            Err(error) => return Err(error),
        }
    }
    Ok(FromPrimary { server, rows: records })
}

/// Separates the identity of the primary from the rows. Fails if the server is a standby, if
/// row-level security hides keys, or if `api_key_meta` is empty.
fn from_primary<T>(rows: Vec<(String, Option<T>)>) -> QueryResult<FromPrimary<T>> {
    let Some((primary, _)) = rows.first() else {
        return Err(refused(
            "the table api_key_meta is empty: insert its row again as in the migrations",
        ));
    };
    let mut fields = primary.splitn(3, '/');
    let server = match (fields.next(), fields.next()) {
        (Some("f"), Some("f")) => fields.next().and_then(server_number),
        (Some("t"), _) => {
            return Err(refused(
                "the server is a hot standby, which may lag behind: use the writable primary",
            ));
        }
        (_, Some("t")) => {
            return Err(refused(
                "row-level security hides rows of api_keys from this role: disable it, or give the \
                 role BYPASSRLS",
            ));
        }
        _ => None,
    };
    let server = server.ok_or_else(|| {
        refused(
            "api_keys is not an ordinary table, so its server cannot be identified: a view or a \
             partitioned table cannot replace it",
        )
    })?;
    Ok(FromPrimary { server, rows: rows.into_iter().filter_map(|(_, row)| row).collect() })
}

fn refused(why: &'static str) -> diesel::result::Error {
    QueryBuilderError(why.into())
}

pub(super) fn log_unreadable(id: i64, error: &dyn std::error::Error) {
    if UNREADABLE.should_log(id) {
        log::error!(
            "the row of key {id} cannot be read, so the key is rejected: {error}; correct the row"
        );
    }
}

fn key_usage(row: UsageRow) -> KeyUsage {
    let address = row.last_used_ip.and_then(|address| address.parse().ok());
    let count = u64::try_from(row.use_count).unwrap_or(0);
    KeyUsage::new(row.key_id, row.last_used_at, address, count)
}

/// Returns the count in the column's type.
pub(crate) fn stored_count(uses: &KeyUsage) -> i64 {
    i64::try_from(uses.count).unwrap_or(i64::MAX)
}

/// Prepares the table for new keys with this digest algorithm. Fails if the table's keys have
/// another algorithm.
pub(super) fn prepare_insert(
    connection: &mut Connection,
    ours: &str,
    done: &str,
) -> Result<(), TransactionError> {
    if connection.digest_algorithm()?.is_none() {
        // Another process may set the algorithm concurrently, so the result is ignored and the
        // algorithm is read again.
        connection.claim_digest_algorithm(None, ours)?;
    }
    if connection.digest_algorithm()?.as_deref() != Some(ours) {
        return Err(Error::conflict(format!(
            "no key was {done}: the keys of this table are digested with another pepper than \
             APP_KEY_PEPPER, so the service would not find the new key. Set APP_KEY_PEPPER to \
             the service's pepper. To change the pepper, first restart the service with the \
             new pepper in APP_KEY_PEPPER and the old one in APP_KEY_PEPPER_PREVIOUS"
        ))
        .into());
    }
    Ok(mend_identity(connection)?)
}

/// Inserts a new key. Returns the record that the table stores.
fn insert(connection: &mut Connection, new: &KeyRecord) -> QueryResult<KeyRecord> {
    let row = diesel::insert_into(api_keys::table)
        .values(KeyRow::from(new))
        .returning(KeyRow::as_returning())
        .get_result(connection)?;
    record(row)
}

fn existing(connection: &mut Connection, id: i64) -> Result<KeyRecord, TransactionError> {
    connection.get(id)?.ok_or_else(|| Error::not_found(id).into())
}

pub(super) fn records(rows: Vec<KeyRow>) -> QueryResult<Vec<KeyRecord>> {
    rows.into_iter().map(record).collect()
}

fn record(row: KeyRow) -> QueryResult<KeyRecord> {
    row.try_into().map_err(|source: TryFromSliceError| DeserializationError(source.into()))
}
