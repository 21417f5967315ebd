//! One connection to either kind of database, opened in the one way that is right for keys.

#[cfg(feature = "sqlite")]
use std::{
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection as _, r2d2::R2D2Connection as _};
#[cfg(feature = "postgres")]
use diesel::{PgConnection, connection::CacheSize};
#[cfg(feature = "sqlite")]
use diesel::{SqliteConnection, connection::SimpleConnection as _};

#[cfg(feature = "postgres")]
use super::database::after_credentials;
use crate::{
    Error,
    store::{
        Database,
        pool::{self, PATIENCE, Pooled},
    },
};

/// So that a path that died without a word holds a thread for seconds and not for hours; each only where the URL names none. A server
/// that does not answer counts as away after two seconds, which is the least libpq takes; a connection after five to eight.
#[cfg(feature = "postgres")]
const TIMEOUTS: [(&str, &str); 5] = [
    ("connect_timeout", "2"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "3"),
    // Milliseconds.
    ("tcp_user_timeout", "5000"),
];

/// How long a new SQLite file may be held by others that open it; the same as its busy timeout.
#[cfg(feature = "sqlite")]
const SQLITE_PATIENCE: Duration = Duration::from_secs(5);

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
pub(crate) use on_either;

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
                let mut connection = PgConnection::establish(&with_timeouts(url))
                    .map_err(|source| unreachable(database, source))?;
                // A transaction pooler hands the statements of one client to another.
                connection.set_prepared_statement_cache_size(CacheSize::Disabled);
                Ok(Self::Postgres(Box::new(connection)))
            }
            #[cfg(feature = "sqlite")]
            Database::Sqlite(path) => {
                if missing == Missing::Refuse && !std::path::Path::new(path).exists() {
                    return Err(Error::schema(format!(
                        "there is no {database}: `app-key migrate` makes it (DATABASE_URL says where)"
                    )));
                }
                let unusable = |source: Box<dyn std::error::Error + Send + Sync>| {
                    Error::database(format!("cannot open {database}"), source)
                };
                let mut connection = SqliteConnection::establish(&sqlite_uri(path, missing))
                    .map_err(|source| unusable(source.into()))?;
                apply_settings(&mut connection).map_err(|source| unusable(source.into()))?;
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

/// The busy timeout comes first, so that the others wait for a writer as well. `FULL`: an acknowledged revocation survives a power
/// cut. `recursive_triggers`: REPLACE fires delete triggers.
#[cfg(feature = "sqlite")]
const SQLITE_SETTINGS: &str = "\
    PRAGMA busy_timeout = 5000; \
    PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; \
    PRAGMA recursive_triggers = ON;";

/// Waits for others that open a new file at the same moment: only one can switch it to WAL, and SQLite fails the rest without waiting.
#[cfg(feature = "sqlite")]
fn apply_settings(connection: &mut SqliteConnection) -> diesel::QueryResult<()> {
    let until = Instant::now() + SQLITE_PATIENCE;
    loop {
        match connection.batch_execute(SQLITE_SETTINGS) {
            // Diesel has no code for it.
            Err(error) if error.to_string() == "database is locked" && Instant::now() < until => {
                thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// A URI, because only that can say that a missing file is not to be made.
#[cfg(feature = "sqlite")]
fn sqlite_uri(path: &str, missing: Missing) -> String {
    let mode = if missing == Missing::Create {
        "rwc"
    } else {
        "rw"
    };
    let path = path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    // An absolute path follows an empty authority, or its own leading slashes would be taken for one.
    let authority = if path.starts_with('/') { "//" } else { "" };
    format!("file:{authority}{path}?mode={mode}")
}

/// Whether this is about a server. From a URL that libpq cannot read it quotes pieces, and those may be the password's.
#[cfg(feature = "postgres")]
pub(super) fn is_about_a_server(message: &str) -> bool {
    let begins = |beginning: &str| message.starts_with(beginning);
    begins("connection to server ")
        || begins("could not connect to server")
        || begins("FATAL:")
        || begins("could not translate host name ") && !message.contains('@')
        || message.trim_end().ends_with("support is not compiled in")
}

#[cfg(feature = "postgres")]
fn unreachable(database: &Database, source: diesel::ConnectionError) -> Error {
    if is_about_a_server(&source.to_string()) {
        Error::database(format!("cannot connect to {database}"), source)
    } else {
        Error::setting(format!(
            "cannot connect to {database}: libpq cannot read its URL or service settings (what it says may quote the password and is left out); in \
             user and password of a URL write % as %25, @ as %40, : as %3A and / as %2F"
        ))
    }
}

#[cfg(feature = "postgres")]
fn with_timeouts(url: &str) -> String {
    let mut url = url.to_owned();
    for (name, value) in TIMEOUTS {
        if url.contains(&format!("{name}=")) {
            continue;
        }
        let separator = match url.split_once("://") {
            Some((_, rest)) if after_credentials(rest).contains('?') => '&',
            Some(_) => '?',
            None => ' ',
        };
        url.push(separator);
        url.push_str(name);
        url.push('=');
        url.push_str(value);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn timeouts_are_added_where_none_are_named() {
        const REST: &str =
            "keepalives_idle=5&keepalives_interval=1&keepalives_count=3&tcp_user_timeout=5000";
        let cases = [
            ("postgres://h/d", "postgres://h/d?connect_timeout=2&"),
            (
                "postgres://h/d?sslmode=require",
                "postgres://h/d?sslmode=require&connect_timeout=2&",
            ),
            (
                "postgres://u:p?w@h/d",
                "postgres://u:p?w@h/d?connect_timeout=2&",
            ),
            (
                "postgres://h/d?connect_timeout=9",
                "postgres://h/d?connect_timeout=9&",
            ),
        ];
        for (url, expected) in cases {
            assert_eq!(with_timeouts(url), format!("{expected}{REST}"));
        }
        assert_eq!(
            with_timeouts("host=h dbname=d keepalives_count=9 tcp_user_timeout=0"),
            "host=h dbname=d keepalives_count=9 tcp_user_timeout=0 connect_timeout=2 keepalives_idle=5 keepalives_interval=1"
        );
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn what_libpq_quotes_from_an_unreadable_url_is_not_passed_on() {
        for url in [
            "postgres://u:s3%zzcret@h/d",
            "postgres://u:s3cret@[::1/d",
            "postgres://u:s3/cret@h/d",
            "host=h password=s3 cret",
        ] {
            let error = Connection::open(&Database::parse(url).unwrap())
                .err()
                .unwrap();
            assert!(error.is_setting());
            let message = error.to_string();
            assert!(
                !message.contains("s3") && !message.contains("cret"),
                "{message}"
            );
        }
        // postgres://u:s3@cret@h/d
        assert!(!is_about_a_server(
            "could not translate host name \"cret@h\" to address: Name or service not known"
        ));
        assert!(is_about_a_server(
            "could not translate host name \"h\" to address: Name or service not known"
        ));
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn many_may_open_a_new_file_at_once() {
        let folder = std::env::temp_dir().join(format!("app-key-{}-at-once", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for round in 0..20 {
            let path = folder.join(format!("{round}.db"));
            let database = Database::Sqlite(path.to_str().unwrap().to_owned());
            thread::scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        Connection::open_or(&database, Missing::Create)
                            .map(drop)
                            .unwrap();
                    });
                }
            });
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    // E13, F10
    #[cfg(feature = "sqlite")]
    #[test]
    fn every_sqlite_connection_waits_survives_a_power_cut_and_fires_every_trigger() {
        use diesel::{RunQueryDsl as _, sql_query, sql_types};
        #[derive(diesel::QueryableByName)]
        struct Setting {
            #[diesel(sql_type = sql_types::Text)]
            value: String,
        }
        let folder = std::env::temp_dir().join(format!("app-key-{}-settings", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let database = Database::Sqlite(folder.join("keys.db").to_str().unwrap().to_owned());
        for missing in [Missing::Create, Missing::Refuse] {
            let Connection::Sqlite(mut connection) =
                Connection::open_or(&database, missing).unwrap()
            else {
                panic!("not a connection of ours to SQLite");
            };
            for (pragma, column, expected) in [
                ("busy_timeout", "timeout", "5000"),
                ("journal_mode", "journal_mode", "wal"),
                ("synchronous", "synchronous", "2"),
                ("foreign_keys", "foreign_keys", "1"),
                ("recursive_triggers", "recursive_triggers", "1"),
            ] {
                let query = format!("SELECT CAST({column} AS TEXT) AS value FROM pragma_{pragma}");
                let setting: Setting = sql_query(query).get_result(&mut *connection).unwrap();
                assert_eq!(setting.value, expected, "{pragma}");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_path_with_the_characters_of_a_uri_names_that_file() {
        let folder =
            std::env::temp_dir().join(format!("app-key-{}-50% off? #1", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keys.db");
        let database = Database::Sqlite(path.to_str().unwrap().to_owned());
        assert!(
            Connection::open(&database).err().unwrap().is_schema(),
            "a missing file is not made"
        );
        assert!(!path.exists());
        Connection::open_or(&database, Missing::Create)
            .map(drop)
            .unwrap();
        assert!(path.exists());
        Connection::open(&database).map(drop).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
