//! An empty database for each test, on the private server of this program or in a separate file.
//! The database is removed on drop.
//!
//! `database_test!(name, |database| { .. });` runs the same test on Postgres and SQLite, as
//! `name::postgres` and `name::sqlite`.

use std::{fmt, fs, net::SocketAddr, path::PathBuf};

use api_key_runtime::{
    AppKeys, AppKeysBuilder,
    admin::{Admin, NewKey},
    migrations,
};
use diesel::{
    Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection, backend::Backend,
    connection::SimpleConnection as _, prelude::QueryableByName, sql_query, sql_types,
};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use super::{
    LONG_DEADLINE,
    programs::build_before_the_suite,
    servers::{Pooler, Postgres, folder::own_name, own_folder},
};

/// Defines the same test for Postgres and for SQLite, each with an empty database.
macro_rules! database_test {
    ($name:ident, $test:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn run(
                test: impl FnOnce($crate::support::Database),
                database: $crate::support::Database,
            ) {
                test(database);
            }

            #[::core::prelude::v1::test]
            fn postgres() {
                run($test, $crate::support::Database::postgres());
            }

            #[::core::prelude::v1::test]
            fn sqlite() {
                run($test, $crate::support::Database::sqlite());
            }
        }
    };
}
pub(crate) use database_test;

/// A database of one test.
pub(crate) struct Database {
    url: String,
    place: Place,
}

enum Place {
    /// `dropped_at` is the URL used to drop the database, or `None` if the database is removed with
    /// the test's own server.
    Postgres {
        dropped_at: Option<String>,
        name: String,
    },
    Sqlite {
        folder: PathBuf,
    },
}

/// Splits a URL into scheme and credentials, host and port, and database name.
fn split_url(url: &str) -> (&str, &str, &str) {
    let (credentials, place) = url.split_once('@').expect("a URL of Postgres with a user");
    let (address, name) = place.split_once('/').expect("the URL names a database");
    (credentials, address, name)
}

impl Database {
    /// Creates an empty database on the server that all tests of this program share.
    pub(crate) fn postgres() -> Self {
        let server = Postgres::shared().url();
        let mut database = Self::postgres_at(&server);
        if let Place::Postgres { dropped_at, .. } = &mut database.place {
            *dropped_at = Some(server);
        }
        database
    }

    /// Creates an empty database on a test's own server. The database is removed with that server.
    /// The URL must name an existing database.
    pub(crate) fn postgres_at(server: &str) -> Self {
        Self::postgres_named(server, own_name())
    }

    /// Creates a database as [`postgres_at`](Self::postgres_at) does, but with this name. A
    /// database on another server may have the same name.
    pub(crate) fn postgres_named(server: &str, name: String) -> Self {
        build_before_the_suite();
        PgConnection::establish(server)
            .unwrap()
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .unwrap();
        let (place, _) = server.rsplit_once('/').expect("the URL names a database");
        Self { url: format!("{place}/{name}"), place: Place::Postgres { dropped_at: None, name } }
    }

    /// Returns a database whose file does not exist yet, in a new folder.
    pub(crate) fn sqlite() -> Self {
        build_before_the_suite();
        let folder = own_folder();
        let url = folder.join("keys.db").to_str().unwrap().to_owned();
        Self { url, place: Place::Sqlite { folder } }
    }

    /// Returns the URL in the form of `DATABASE_URL`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the address of the server. Postgres only.
    pub(crate) fn server(&self) -> SocketAddr {
        self.split_url().1.parse().unwrap()
    }

    /// Returns the URL with another address, such as that of a proxy or a standby.
    pub(crate) fn url_at(&self, address: impl fmt::Display) -> String {
        let (credentials, _, name) = self.split_url();
        format!("{credentials}@{address}/{name}")
    }

    /// Returns the URL through a `PgBouncer` in transaction mode.
    pub(crate) fn pooled_url(&self) -> String {
        self.url_at(Pooler::shared().address)
    }

    /// Returns the name of the database. Postgres only.
    pub(crate) fn name(&self) -> &str {
        self.split_url().2
    }

    fn split_url(&self) -> (&str, &str, &str) {
        split_url(&self.url)
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.place, Place::Postgres { .. })
    }

    /// Runs the embedded migrations.
    pub(crate) fn migrate(&self) -> &Self {
        migrations::run(&self.url).unwrap();
        self
    }

    /// Returns the builder of a service with this database, a long lookup timeout and otherwise
    /// default settings.
    pub(crate) fn builder(&self) -> AppKeysBuilder {
        AppKeys::builder().database_url(&self.url).lookup_timeout(LONG_DEADLINE)
    }

    /// Runs the migrations, and returns the `AppKeys` of a service.
    pub(crate) fn keys(&self) -> AppKeys {
        self.migrate().builder().build().unwrap()
    }

    /// Runs the migrations, and returns the administration.
    pub(crate) fn admin(&self) -> Admin {
        self.migrate().builder().build_admin().unwrap()
    }

    /// Issues a native key without scopes, and returns the key and its id.
    pub(crate) fn issue(&self, allowed_ips: &str) -> (String, i64) {
        self.issue_with(&NewKey::new("test").allow(allowed_ips).unwrap())
    }

    pub(crate) fn issue_with(&self, new: &NewKey) -> (String, i64) {
        let issued = self.admin().issue(new).unwrap();
        super::leaks::watch(&issued);
        (issued.secret.expose_secret().to_owned(), issued.record.id)
    }

    /// Issues this many keys, valid from any address.
    pub(crate) fn issue_many(&self, number: usize) -> Vec<(String, i64)> {
        let admin = self.admin();
        let new = NewKey::new("test").allow_any();
        let issue = |_| {
            let issued = admin.issue(&new).unwrap();
            super::leaks::watch(&issued);
            (issued.secret.expose_secret().to_owned(), issued.record.id)
        };
        (0..number).map(issue).collect()
    }

    /// Inserts this many keys by SQL, valid from any address. Their names are `bulk 1` and so on.
    pub(crate) fn insert_keys(&self, number: usize) {
        let (digest, numbers) = if self.is_postgres() {
            (
                "sha256(random()::text::bytea)",
                format!("SELECT n FROM generate_series(1, {number}) AS n"),
            )
        } else {
            let counted = "SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers";
            (
                "randomblob(32)",
                format!(
                    "WITH RECURSIVE numbers AS ({counted} LIMIT {number}) SELECT n FROM numbers"
                ),
            )
        };
        self.execute(&format!(
            "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) \
             SELECT {digest}, 'sha256', 'ak_live_Bulk', 'bulk ' || n, '0.0.0.0' FROM ({numbers}) AS series"
        ))
        .unwrap();
    }

    /// Runs these migrations and reverts the last one. Returns the versions that ran and the
    /// reverted version.
    pub(crate) fn run_and_revert_last(
        &self,
        migrations: &FileBasedMigrations,
    ) -> (Vec<String>, String) {
        fn both<B: Backend>(
            connection: &mut impl MigrationHarness<B>,
            migrations: &FileBasedMigrations,
        ) -> (Vec<String>, String) {
            let ran = connection.run_pending_migrations(migrations.clone()).unwrap();
            let ran = ran.iter().map(ToString::to_string).collect();
            (ran, connection.revert_last_migration(migrations.clone()).unwrap().to_string())
        }
        match self.place {
            Place::Postgres { .. } => {
                both(&mut PgConnection::establish(&self.url).unwrap(), migrations)
            }
            Place::Sqlite { .. } => {
                both(&mut SqliteConnection::establish(&self.url).unwrap(), migrations)
            }
        }
    }

    /// Ends every other connection to the database and returns their number. Postgres only.
    pub(crate) fn end_connections(&self) -> usize {
        self.texts(
            "SELECT cast(pg_terminate_backend(pid) AS text) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .len()
    }

    /// Returns these hexadecimal bytes as an SQL literal.
    pub(crate) fn literal(&self, hex: &str) -> String {
        if self.is_postgres() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") }
    }

    /// Runs SQL, as an operator would.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), String> {
        match self.place {
            Place::Postgres { .. } => {
                PgConnection::establish(&self.url).unwrap().batch_execute(sql)
            }
            Place::Sqlite { .. } => {
                let mut connection = SqliteConnection::establish(&self.url).unwrap();
                connection
                    .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON")
                    .unwrap();
                connection.batch_execute(sql)
            }
        }
        .map_err(|error| error.to_string())
    }

    /// Changes a key by SQL, as another process does. An `Admin` would update the caches of this
    /// process directly.
    pub(crate) fn set(&self, id: i64, columns: &str) {
        self.execute(&format!("UPDATE api_keys SET {columns} WHERE id = {id}")).unwrap();
    }

    /// Disables a key by SQL, as [`set`](Self::set) does.
    pub(crate) fn disable_by_sql(&self, id: i64) {
        self.set(id, "disabled_at = '2001-01-01 00:00:00+00:00'");
    }

    /// Enables a key by SQL, as [`set`](Self::set) does.
    pub(crate) fn enable_by_sql(&self, id: i64) {
        self.set(id, "disabled_at = NULL");
    }

    /// Revokes a key by SQL, as [`set`](Self::set) does.
    pub(crate) fn revoke_by_sql(&self, id: i64) {
        self.set(id, "revoked_at = '2001-01-01 00:00:00+00:00'");
    }

    /// Returns the rows of a query, which must return one column of text.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = sql_types::Text)]
            text: String,
        }
        let sql = format!("SELECT text FROM ({sql}) AS answer(text)");
        let rows: Vec<Row> =
            match self.place {
                Place::Postgres { .. } => {
                    sql_query(sql).load(&mut PgConnection::establish(&self.url).unwrap()).unwrap()
                }
                Place::Sqlite { .. } => {
                    // A WITH clause names the column, because SQLite allows no column aliases on a
                    // subquery.
                    let sql = sql
                        .replacen("SELECT text FROM (", "WITH answer(text) AS (", 1)
                        .replacen(") AS answer(text)", ") SELECT text FROM answer", 1);
                    let mut connection = SqliteConnection::establish(&self.url).unwrap();
                    // Another thread may be closing its connection, which may checkpoint the
                    // write-ahead log and block this query.
                    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
                    sql_query(sql).load(&mut connection).unwrap()
                }
            };
        rows.into_iter().map(|row| row.text).collect()
    }

    /// Returns every key row as text, to check that nothing changed.
    pub(crate) fn rows(&self) -> Vec<String> {
        let columns = "id || ' ' || digest_algorithm || ' ' || name || ' ' || allowed_ips || ' ' || scopes || ' ' || coalesce(cast(expires_at as text), '-') || ' ' || coalesce(cast(disabled_at as text), '-') || ' ' || coalesce(cast(revoked_at as text), '-')";
        self.texts(&format!("SELECT {columns} FROM api_keys ORDER BY id"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        match &self.place {
            Place::Postgres { dropped_at, name } => {
                // Threads of the service under test may still be connected, so FORCE ends their
                // connections.
                if let Some(server) = dropped_at
                    && let Ok(mut connection) = PgConnection::establish(server)
                {
                    let _ = connection
                        .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
                }
            }
            Place::Sqlite { folder } => {
                let _ = fs::remove_dir_all(folder);
            }
        }
    }
}
