//! A `KeyStore` over the existing table `partner_tokens` in an SQLite file.
//!
//! The store reports its changes, so keys are cached until they change. `watch` is optional.
//! Without `watch`, each cached key is looked up again when its last lookup is older than
//! `max_staleness`. Do not copy this `watch` for a table on Postgres. On Postgres, transactions may
//! commit in a different order than that of their sequence numbers. This feed reads by sequence
//! number, so it would miss changes there.
//!
//! The store of api-key-runtime also detects a replaced database file and records key usage. This
//! example does neither.

mod changes;
mod row;

use std::{fmt, time::Duration};

use api_key_runtime::{
    admin::KeyRecord,
    store::{ChangeFeed, KeyDigest, KeyStore, StoreError},
};
use chrono::{DateTime, Utc};
use diesel::{
    connection::SimpleConnection as _,
    prelude::*,
    r2d2::{ConnectionManager, Pool, PooledConnection},
};

use crate::row::{Row, partner_tokens};

type Manager = ConnectionManager<SqliteConnection>;

const CONNECTIONS: u32 = 4;
/// The maximum wait for a connection. It is shorter than the default `lookup_timeout` of one
/// second, after which a caller gets 503.
const POOL_TIMEOUT: Duration = Duration::from_millis(500);

/// The tokens of the partners. Clones share the connections.
#[derive(Clone)]
pub struct PartnerTokens(Pool<Manager>);

impl PartnerTokens {
    /// Opens the file, and creates the tables if they do not exist.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened or is not an SQLite file.
    pub fn open(path: &str) -> Result<Self, StoreError> {
        let pool = Pool::builder()
            .max_size(CONNECTIONS)
            .connection_timeout(POOL_TIMEOUT)
            .build(Manager::new(path))
            .map_err(StoreError::new)?;
        let tokens = Self(pool);
        tokens.connection()?.batch_execute(include_str!("schema.sql")).map_err(StoreError::new)?;
        Ok(tokens)
    }

    /// Inserts a record that `AppKeys::make_key` made, and returns the number of its row. From then
    /// on, the token is valid.
    ///
    /// # Errors
    /// Returns an error if the database fails or already has the token.
    pub fn insert(&self, record: &KeyRecord) -> Result<i64, StoreError> {
        diesel::insert_into(partner_tokens::table)
            .values(Row::from(record))
            .returning(partner_tokens::number)
            .get_result(&mut self.connection()?)
            .map_err(StoreError::new)
    }

    /// Ends a token permanently. Returns whether the table has the token.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub fn end(&self, number: i64, at: DateTime<Utc>) -> Result<bool, StoreError> {
        diesel::update(partner_tokens::table.find(number))
            .set(partner_tokens::ended_at.eq(at))
            .execute(&mut self.connection()?)
            .map(|ended| ended > 0)
            .map_err(StoreError::new)
    }

    fn connection(&self) -> Result<PooledConnection<Manager>, StoreError> {
        let mut connection = self.0.get().map_err(StoreError::new)?;
        // Without recursive triggers, the triggers would not log the deletions that REPLACE makes.
        connection
            .batch_execute("PRAGMA busy_timeout = 500; PRAGMA recursive_triggers = ON")
            .map_err(StoreError::new)?;
        Ok(connection)
    }
}

impl KeyStore for PartnerTokens {
    fn find(&self, digests: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
        let fingerprints = digests.iter().map(|digest| digest.as_bytes().as_slice());
        let rows: Vec<Row> = partner_tokens::table
            .filter(partner_tokens::fingerprint.eq_any(fingerprints))
            .select(Row::as_select())
            .load(&mut self.connection()?)
            .map_err(StoreError::new)?;
        Ok(rows.into_iter().filter_map(Row::into_record).collect())
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        Ok(Some(Box::new(changes::Feed::new(self.clone()))))
    }
}

impl fmt::Debug for PartnerTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PartnerTokens(..)")
    }
}
