//! The rival: API keys as a good programmer would write them by hand for an actix-web service,
//! without a cache.
//!
//! An extractor takes the key from the request, hashes it, reads the row of that digest within
//! `web::block`, and accepts or rejects the request. Every choice favours speed. The column has an
//! index (its UNIQUE constraint). The query is prepared once per connection and reads only the
//! columns that the decision needs. The pool has twice as many connections as there are cores.
//! Connections are not tested at checkout, so a broken connection costs one 503. SQLite uses a
//! write-ahead log.

use std::{future::Future, net::IpAddr, pin::Pin, thread};

use actix_web::{
    FromRequest, HttpRequest, ResponseError,
    dev::Payload,
    error::BlockingError,
    http::{StatusCode, header::AUTHORIZATION},
    web,
};
use chrono::{DateTime, Utc};
use diesel::{
    PgConnection, SqliteConnection,
    connection::SimpleConnection as _,
    prelude::*,
    r2d2::{self, ConnectionManager, CustomizeConnection, Pool, R2D2Connection},
};
use sha2::{Digest as _, Sha256};

/// The authenticated caller. A handler with this argument runs only for a valid key.
pub(crate) struct Caller {
    pub(crate) id: i64,
}

/// The key table. Put a clone into the application's data.
#[derive(Clone)]
pub(crate) enum Keys {
    Postgres(Pool<ConnectionManager<PgConnection>>),
    Sqlite(Pool<ConnectionManager<SqliteConnection>>),
}

impl Keys {
    pub(crate) fn connect(database_url: &str) -> Self {
        if database_url.starts_with("postgres://") {
            Self::Postgres(pool(database_url, Box::new(r2d2::NopConnectionCustomizer)))
        } else {
            Self::Sqlite(pool(database_url, Box::new(Pragmas)))
        }
    }

    fn find(&self, digest: &[u8]) -> Result<Option<Row>, Refused> {
        match self {
            Self::Postgres(pool) => postgres::find(&mut *pool.get()?, digest),
            Self::Sqlite(pool) => sqlite::find(&mut *pool.get()?, digest),
        }
        .map_err(|_| Refused::Unavailable)
    }
}

fn pool<C: R2D2Connection + 'static>(
    database_url: &str,
    customizer: Box<dyn CustomizeConnection<C, r2d2::Error>>,
) -> Pool<ConnectionManager<C>> {
    let cores = thread::available_parallelism().map_or(1, Into::into);
    Pool::builder()
        .max_size(u32::try_from(2 * cores).unwrap())
        .test_on_check_out(false)
        .connection_customizer(customizer)
        .build(ConnectionManager::new(database_url))
        .unwrap()
}

#[derive(Debug)]
struct Pragmas;

impl CustomizeConnection<SqliteConnection, r2d2::Error> for Pragmas {
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), r2d2::Error> {
        connection
            .batch_execute(
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            )
            .map_err(r2d2::Error::QueryError)
    }
}

#[derive(Queryable)]
struct Row {
    id: i64,
    allowed_ips: String,
    expires_at: Option<DateTime<Utc>>,
    disabled_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl Row {
    fn is_good_for(&self, caller: Option<IpAddr>) -> bool {
        self.revoked_at.is_none()
            && self.disabled_at.is_none()
            && self.expires_at.is_none_or(|end| Utc::now() < end)
            && self.allows(caller)
    }

    fn allows(&self, caller: Option<IpAddr>) -> bool {
        self.allowed_ips == "0.0.0.0"
            || self.allowed_ips.split(' ').any(|rule| rule.parse().ok() == caller)
    }
}

/// Defines the table and its query. The definitions differ between the databases only in the type
/// of timestamps.
macro_rules! table_of {
    ($database:ident, $connection:ty, $timestamp:ty) => {
        mod $database {
            use diesel::prelude::*;

            diesel::table! {
                api_keys (id) {
                    id -> BigInt,
                    digest -> Binary,
                    allowed_ips -> Text,
                    expires_at -> Nullable<$timestamp>,
                    disabled_at -> Nullable<$timestamp>,
                    revoked_at -> Nullable<$timestamp>,
                }
            }

            pub(super) fn find(
                connection: &mut $connection,
                digest: &[u8],
            ) -> QueryResult<Option<super::Row>> {
                api_keys::table
                    .filter(api_keys::digest.eq(digest))
                    .select((
                        api_keys::id,
                        api_keys::allowed_ips,
                        api_keys::expires_at,
                        api_keys::disabled_at,
                        api_keys::revoked_at,
                    ))
                    .first(connection)
                    .optional()
            }
        }
    };
}

table_of!(postgres, PgConnection, Timestamptz);
table_of!(sqlite, SqliteConnection, TimestamptzSqlite);

impl FromRequest for Caller {
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Refused>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let digest = key_of(request).map(Sha256::digest);
        let address = request.peer_addr().map(|peer| peer.ip());
        let keys = request.app_data::<web::Data<Keys>>().cloned();
        Box::pin(async move {
            let digest = digest.ok_or(Refused::Unauthorized)?;
            let keys = keys.ok_or(Refused::Unavailable)?;
            let row = web::block(move || keys.find(&digest)).await??;
            match row {
                Some(row) if row.is_good_for(address) => Ok(Self { id: row.id }),
                _ => Err(Refused::Unauthorized),
            }
        })
    }
}

fn key_of(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers();
    if let Some(value) = headers.get(AUTHORIZATION) {
        return value.to_str().ok()?.strip_prefix("Bearer ");
    }
    headers.get("X-API-Key")?.to_str().ok()
}

#[derive(Debug)]
pub(crate) enum Refused {
    Unauthorized,
    Unavailable,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Unauthorized => "a valid API key is required",
            Self::Unavailable => "the service is unavailable",
        })
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<r2d2::PoolError> for Refused {
    fn from(_: r2d2::PoolError) -> Self {
        Self::Unavailable
    }
}

impl From<BlockingError> for Refused {
    fn from(_: BlockingError) -> Self {
        Self::Unavailable
    }
}
