//! The database that a URL names or that a pool connects to. Messages describe the database without
//! its password.

use std::fmt;

use diesel::r2d2::{ConnectionManager, Pool};

#[cfg(feature = "postgres")]
use super::postgres::{PostgresPool, after_credentials};
#[cfg(feature = "sqlite")]
use super::sqlite::SqlitePool;
use crate::error::Error;

/// A database, given by its address or by the application's own pool.
#[derive(Clone)]
pub(crate) enum Database {
    /// A URL or connection string for libpq.
    #[cfg(feature = "postgres")]
    Postgres(String),
    /// The path of an SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(String),
    #[cfg(feature = "postgres")]
    PostgresPool(PostgresPool),
    #[cfg(feature = "sqlite")]
    SqlitePool(SqlitePool),
}

impl Database {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let url = url.trim();
        if url.is_empty() {
            return Err(Error::config(
                "the database URL is empty: set DATABASE_URL to postgres://USER@HOST/DATABASE or \
                 to the path of an SQLite file",
            ));
        }
        if is_postgres(url) {
            #[cfg(feature = "postgres")]
            return Ok(Self::Postgres(url.to_owned()));
            #[cfg(not(feature = "postgres"))]
            return Err(Error::config(
                "this build does not support Postgres: enable the feature `postgres` of \
                 api-key-runtime",
            ));
        }
        let after_scheme = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
        if after_scheme.is_some_and(|path| path.contains('?')) {
            return Err(Error::config(
                "an SQLite database URL cannot have parameters: remove everything from `?` on",
            ));
        }
        let path = after_scheme.unwrap_or(url);
        if let Some((scheme, _)) = path.split_once("://")
            && is_scheme(scheme)
        {
            return Err(Error::config(format!(
                "the database URL begins with {scheme}://, which is not supported: use postgres:// \
                 or sqlite://"
            )));
        }
        if path.is_empty()
            || path.starts_with("file:")
            || path.contains(":memory:")
            || path.contains('\0')
        {
            return Err(Error::config(
                "the database URL does not name a file: set DATABASE_URL to the path of a file. An \
                 SQLite database in memory exists only for one connection, and keys are read over \
                 several connections",
            ));
        }
        if after_scheme.is_none() && !is_clearly_a_path(path) {
            return Err(Error::config(
                "the database URL is ambiguous: it looks like a server address but does not begin \
                 with postgres:// (the URL is not shown, because it may contain a password). For \
                 an SQLite file with `@`, `=` or `:` in its path, write ./ or sqlite: before the \
                 path",
            ));
        }
        #[cfg(feature = "sqlite")]
        return Ok(Self::Sqlite(path.to_owned()));
        #[cfg(not(feature = "sqlite"))]
        return Err(Error::config(
            "this build does not support SQLite: enable the feature `sqlite` of api-key-runtime",
        ));
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn postgres_pool(pool: Pool<ConnectionManager<diesel::PgConnection>>) -> Self {
        Self::PostgresPool(PostgresPool::new(pool))
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite_pool(
        pool: Pool<ConnectionManager<diesel::SqliteConnection>>,
    ) -> Result<Self, Error> {
        SqlitePool::new(pool).map(Self::SqlitePool)
    }

    pub(crate) fn is_postgres(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) | Self::PostgresPool(_) => true,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) | Self::SqlitePool(_) => false,
        }
    }

    /// Returns the URL or path of the database, which may include a password. Returns `None` for a
    /// Postgres pool, whose address is not available.
    pub(crate) fn location(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Some(url),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => Some(path),
            #[cfg(feature = "postgres")]
            Self::PostgresPool(_) => None,
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(pool) => Some(pool.path()),
        }
    }

    /// Returns the number of idle connections in the application's pool, or 0 without a pool. Some
    /// of these connections may be dead.
    pub(super) fn idle_in_pool(&self) -> u32 {
        match self {
            #[cfg(feature = "postgres")]
            Self::PostgresPool(pool) => pool.idle(),
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(pool) => pool.idle(),
            _ => 0,
        }
    }
}

/// Returns whether this text is a Postgres URL or a libpq connection string, which begins with a
/// lowercase keyword and `=`.
fn is_postgres(url: &str) -> bool {
    let is_keyword = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    url.starts_with("postgres://")
        || url.starts_with("postgresql://")
        || url.split_once('=').is_some_and(|(keyword, _)| is_keyword(keyword.trim_end()))
}

/// Returns whether this text can be a URL scheme. A message shows the text only in this case,
/// because any other text may contain a password.
fn is_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+')
}

/// Returns whether this text cannot be a server address or a connection string. Such a text begins
/// like a path, or contains none of `@`, `=` and `:`.
fn is_clearly_a_path(text: &str) -> bool {
    ["/", "./", "../"].iter().any(|beginning| text.starts_with(beginning))
        || !text.contains(['@', '=', ':'])
}

/// Writes the kind and location of the database for messages. Shows the host and database of a URL,
/// or the path of a file, but no part of a connection string.
impl fmt::Display for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => match url.split_once("://") {
                Some((_, rest)) => {
                    let place = after_credentials(rest);
                    let (place, parameters) = place.split_once('?').unwrap_or((place, ""));
                    // A password may contain `/`, `?` and `@`. If the end of the password is
                    // unclear, no part of the URL is shown.
                    if parameters.contains('@') {
                        return formatter.write_str("Postgres");
                    }
                    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
                    write!(formatter, "Postgres at {place}")
                }
                None => formatter.write_str("Postgres"),
            },
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => write!(formatter, "SQLite file {path}"),
            #[cfg(feature = "postgres")]
            Self::PostgresPool(_) => formatter.write_str("Postgres of the application's pool"),
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(pool) => write!(formatter, "SQLite file {}", pool.path()),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn a_postgres_url_is_shown_without_user_password_and_parameters() {
        let url = "postgres://cakes:s3cr@t@db.example:5433/cakes?sslmode=require&password=s3cret";
        let shown = Database::parse(url).unwrap().to_string();
        assert_eq!(shown, "Postgres at db.example:5433/cakes");
        for url in [
            "postgres://u:s3/cret@h/d",
            "postgres://u:s3?cret@h/d",
            "postgres://u:s3/c?r@et@h/d",
            "postgres://h/d?password=s3cr@et",
        ] {
            let shown = Database::parse(url).unwrap().to_string();
            assert!(!["s3", "cr", "et"].iter().any(|part| shown.contains(part)), "{shown}");
        }
        assert_eq!(Database::parse("host=/tmp password=s3cret").unwrap().to_string(), "Postgres");
    }

    #[test]
    fn a_connection_string_is_never_taken_for_a_path() {
        for text in [
            "user=app password=hunter2",
            "hostaddr=10.0.0.1 user=a password=hunter2",
            "host = h password=hunter2",
        ] {
            assert!(is_postgres(text) && !is_postgres(&format!("./{text}")), "{text}");
            #[cfg(feature = "postgres")]
            assert_eq!(Database::parse(text).unwrap().to_string(), "Postgres");
        }
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn each_form_of_an_sqlite_url_names_the_file() {
        for url in ["cakes.db", "sqlite://cakes.db", "sqlite:cakes.db"] {
            assert_eq!(Database::parse(url).unwrap().to_string(), "SQLite file cakes.db");
        }
    }

    // F10
    #[test]
    fn memory_and_foreign_schemes_are_rejected() {
        for bad in [
            "",
            " ",
            ":memory:",
            "sqlite://:memory:",
            "file::memory:?cache=shared",
            "file:x?mode=memory",
            "mysql://h/d",
            "postgre://h/d",
            "sqlite://",
            "sqlite://cakes.db?mode=rwc",
        ] {
            assert!(Database::parse(bad).unwrap_err().is_config(), "{bad:?}");
        }
    }

    // F10, G1
    #[test]
    fn a_mistyped_server_address_is_no_file_and_is_not_shown() {
        for bad in [
            "shop:s3cret@db.example/keys",
            "shop@db.example/s3cret",
            "db.example:5432/s3cret",
            "postgres:/shop:s3cret@db.example/keys",
            "postgresql:shop:s3cret@db.example/keys",
            "shop:s3cret@db.example://keys",
            "s3cret://db.example/keys",
            "Host=db.example Password=s3cret",
            "PGPASSWORD=s3cret",
        ] {
            let error = Database::parse(bad).unwrap_err();
            assert!(error.is_config(), "{bad}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        #[cfg(feature = "sqlite")]
        for path in ["./a@b.db", "../a=b.db", "/srv/a:b.db", "sqlite:a@b:c=d.db"] {
            let shown = Database::parse(path).unwrap().to_string();
            assert_eq!(shown, format!("SQLite file {}", path.trim_start_matches("sqlite:")));
        }
    }
}
