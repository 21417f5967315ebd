//! Keys in a table that is there already, `partner_tokens` in an SQLite file: a `KeyStore` over it.
//!
//! It reports its changes, so keys are cached until they change. `watch` is optional: without it
//! each cached key is looked up again once its last lookup is older than `max_staleness`. Leave
//! `watch` out on Postgres: transactions draw numbers in one order and commit in another, so a feed
//! that goes by numbers, as this one does, misses changes.
//!
//! The store of api-key-runtime also notices that another file took the name of this one, and
//! records key usage.

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
/// Less than the second after which a caller is answered 503.
const POOL_TIMEOUT: Duration = Duration::from_millis(500);

/// The tokens of our partners. Clones share the connections.
#[derive(Clone)]
pub struct PartnerTokens(Pool<Manager>);

impl PartnerTokens {
    /// Opens the file, and makes the tables where there are none.
    ///
    /// # Errors
    /// When the file cannot be opened or is no SQLite file.
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

    /// Keeps the record that `AppKeys::make_key` made, and answers the number it got. The token is
    /// good from then on.
    ///
    /// # Errors
    /// When the database fails, or has such a token already.
    pub fn insert(&self, record: &KeyRecord) -> Result<i64, StoreError> {
        diesel::insert_into(partner_tokens::table)
            .values(Row::from(record))
            .returning(partner_tokens::number)
            .get_result(&mut self.connection()?)
            .map_err(StoreError::new)
    }

    /// Ends a token for good, and answers whether there is such a one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn end(&self, number: i64, at: DateTime<Utc>) -> Result<bool, StoreError> {
        diesel::update(partner_tokens::table.find(number))
            .set(partner_tokens::ended_at.eq(at))
            .execute(&mut self.connection()?)
            .map(|ended| ended > 0)
            .map_err(StoreError::new)
    }

    fn connection(&self) -> Result<PooledConnection<Manager>, StoreError> {
        let mut connection = self.0.get().map_err(StoreError::new)?;
        // REPLACE deletes rows, and without the second setting tells no trigger.
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
