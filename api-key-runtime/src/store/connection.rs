//! One connection to either kind of database, opened in the one way that is right for keys.

#[cfg(feature = "postgres")]
use diesel::PgConnection;
#[cfg(feature = "sqlite")]
use diesel::SqliteConnection;
use diesel::r2d2::R2D2Connection as _;

use super::pool::{self, PATIENCE, Pooled};
use crate::{Error, store::Database};

/// A connection of ours, or one that is borrowed from the application's pool until it is dropped.
pub(crate) enum Connection {
    #[cfg(feature = "postgres")]
    Postgres(Box<PgConnection>),
    #[cfg(feature = "sqlite")]
    Sqlite(Box<SqliteConnection>),
    #[cfg(feature = "postgres")]
    PooledPostgres(Pooled<PgConnection>),
    #[cfg(feature = "sqlite")]
    PooledSqlite(Pooled<SqliteConnection>),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Connection(..)")
    }
}

/// Runs the function of that name on whichever database this is.
macro_rules! on_either {
    ($connection:expr, $($function:ident)::+($($argument:expr),*)) => {
        match $connection {
            #[cfg(feature = "postgres")]
            $crate::store::Connection::Postgres(connection) => $crate::store::postgres::$($function)::+(connection, $($argument),*),
            #[cfg(feature = "sqlite")]
            $crate::store::Connection::Sqlite(connection) => $crate::store::sqlite::$($function)::+(connection, $($argument),*),
            #[cfg(feature = "postgres")]
            $crate::store::Connection::PooledPostgres(connection) => $crate::store::postgres::$($function)::+(connection, $($argument),*),
            #[cfg(feature = "sqlite")]
            $crate::store::Connection::PooledSqlite(connection) => $crate::store::sqlite::$($function)::+(connection, $($argument),*),
        }
    };
}
pub(super) use on_either;

/// Whether a missing SQLite file is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

impl Connection {
    /// Connects to a database that must be there, or borrows a connection to it.
    pub(crate) fn open(database: &Database) -> Result<Self, Error> {
        Self::open_or(database, Missing::Refuse)
    }

    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "only a file can be made")
    )]
    pub(crate) fn open_or(database: &Database, missing: Missing) -> Result<Self, Error> {
        match database {
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => {
                let connection = super::postgres::connect(database, url)?;
                Ok(Self::Postgres(Box::new(connection)))
            }
            #[cfg(feature = "sqlite")]
            Database::Sqlite(path) => {
                let connection = super::sqlite::connect(database, path, missing)?;
                Ok(Self::Sqlite(Box::new(connection)))
            }
            #[cfg(feature = "postgres")]
            Database::PostgresPool(pool) => pool.get(pool.patience()).map(Self::PooledPostgres),
            #[cfg(feature = "sqlite")]
            Database::SqlitePool(pool) => pool.get(pool.patience()).map(Self::PooledSqlite),
        }
    }

    /// As [`open`](Self::open), for those who are waited for: a pool's own patience may be far longer.
    pub(crate) fn open_soon(database: &Database) -> Result<Self, Error> {
        match database {
            #[cfg(feature = "postgres")]
            Database::PostgresPool(pool) => pool.get(PATIENCE).map(Self::PooledPostgres),
            #[cfg(feature = "sqlite")]
            Database::SqlitePool(pool) => pool.get(PATIENCE).map(Self::PooledSqlite),
            database => Self::open(database),
        }
    }

    /// Whether it goes back to a pool.
    pub(crate) fn is_borrowed(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => false,
            #[cfg(feature = "postgres")]
            Self::PooledPostgres(_) => true,
            #[cfg(feature = "sqlite")]
            Self::PooledSqlite(_) => true,
        }
    }

    /// Whether its tables were checked before, of one that is borrowed once more.
    pub(crate) fn is_checked(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::PooledPostgres(connection) => pool::is_checked(connection),
            #[cfg(feature = "sqlite")]
            Self::PooledSqlite(connection) => pool::is_checked(connection),
            _ => false,
        }
    }

    pub(crate) fn set_checked(&mut self) {
        match self {
            #[cfg(feature = "postgres")]
            Self::PooledPostgres(connection) => pool::set_checked(connection),
            #[cfg(feature = "sqlite")]
            Self::PooledSqlite(connection) => pool::set_checked(connection),
            _ => {}
        }
    }

    /// Whether it is of no further use, as far as is known.
    pub(crate) fn is_broken(&mut self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.is_broken(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => connection.is_broken(),
            #[cfg(feature = "postgres")]
            Self::PooledPostgres(connection) => connection.is_broken(),
            #[cfg(feature = "sqlite")]
            Self::PooledSqlite(connection) => connection.is_broken(),
        }
    }
}
