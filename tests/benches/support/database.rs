//! Databases with many keys. Dropping a [`Database`] deletes its database.

use std::{fs, path::PathBuf};

use api_key_runtime::{AppKeys, AppKeysBuilder, migrations, store::KeyDigest};
use diesel::{
    Connection as _, PgConnection, QueryResult, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    sql_query,
    sql_types::{Array, BigInt, Binary},
};

use super::{
    Key, Postgres,
    figures::Progress,
    servers::{folder::own_name, own_folder},
};

/// Rows per statement. For a statement with this many rows, the change log records one change of
/// all keys instead of one change per key.
const CHUNK: usize = 10_000;

/// A separate database with the tables of the library.
pub(crate) struct Database {
    url: String,
    place: Place,
}

enum Place {
    Postgres { server: String, name: String },
    Sqlite { folder: PathBuf },
}

impl Database {
    /// Starts a server with the default memory settings of Postgres. The server does not sync
    /// commits to disk, because no result depends on their speed.
    pub(crate) fn server() -> Postgres {
        Postgres::start(&[
            "max_connections=200",
            "shared_buffers=128MB",
            "max_wal_size=4GB",
            "autovacuum=off",
        ])
    }

    pub(crate) fn postgres(server: &Postgres) -> Self {
        let name = own_name();
        PgConnection::establish(&server.url())
            .unwrap()
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .unwrap();
        let place = Place::Postgres { server: server.url(), name: name.clone() };
        Self::migrated(server.url_of(&name), place)
    }

    pub(crate) fn sqlite() -> Self {
        let folder = own_folder();
        let url = folder.join("keys.db").to_str().unwrap().to_owned();
        Self::migrated(url, Place::Sqlite { folder })
    }

    fn migrated(url: String, place: Place) -> Self {
        migrations::run(&url).unwrap();
        Self { url, place }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the suffix for the names of results from this database.
    pub(crate) fn suffix(&self) -> &'static str {
        match self.place {
            Place::Postgres { .. } => "pg",
            Place::Sqlite { .. } => "sqlite",
        }
    }

    /// Returns the builder of a service with this database and default settings.
    pub(crate) fn builder(&self) -> AppKeysBuilder {
        AppKeys::builder().database_url(&self.url)
    }

    pub(crate) fn keys(&self) -> AppKeys {
        self.builder().build().unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        match self.place {
            Place::Postgres { .. } => {
                Connection::Postgres(PgConnection::establish(&self.url).unwrap())
            }
            Place::Sqlite { .. } => {
                let mut connection = SqliteConnection::establish(&self.url).unwrap();
                connection
                    .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON")
                    .unwrap();
                Connection::Sqlite(connection)
            }
        }
    }

    /// Inserts these keys. Each key is valid from any address.
    pub(crate) fn insert(&self, keys: &[Key]) {
        let mut connection = self.connect();
        for chunk in keys.chunks(CHUNK) {
            let digests: Vec<KeyDigest> = chunk.iter().map(|key| key.digest).collect();
            connection.insert(&digests).unwrap();
        }
    }

    /// Inserts `rows` rows in total: these keys, evenly spread among rows with random digests.
    pub(crate) fn insert_among(&self, rows: usize, keys: &[Key]) {
        let mut connection = self.connect();
        if let Connection::Sqlite(_) = connection {
            // Digests arrive in random order, so the whole index must fit into the page cache.
            connection.execute("PRAGMA cache_size = -500000");
        }
        let mut progress = Progress::new("rows", rows);
        let parts = rows / CHUNK;
        for keys in keys.chunks(keys.len() / parts) {
            let digests: Vec<KeyDigest> = keys.iter().map(|key| key.digest).collect();
            connection.insert(&digests).unwrap();
            connection.insert_strangers(CHUNK - keys.len()).unwrap();
            progress.advance(CHUNK);
        }
    }

    /// Runs pending maintenance now, so that no maintenance disturbs a measurement.
    pub(crate) fn settle(&self) {
        let sql = match self.place {
            Place::Postgres { .. } => "VACUUM ANALYZE; CHECKPOINT",
            Place::Sqlite { .. } => "PRAGMA wal_checkpoint(TRUNCATE); ANALYZE",
        };
        for statement in sql.split("; ") {
            self.connect().execute(statement);
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        match &self.place {
            Place::Postgres { server, name } => {
                // Threads of the service may still be connected, so FORCE closes their connections.
                if let Ok(mut connection) = PgConnection::establish(server) {
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

/// A connection to Postgres or SQLite, for plain SQL.
pub(crate) enum Connection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

const COLUMNS: &str =
    "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips, scopes)";
const VALUES: &str =
    "'sha256', 'ak_live_Ab3d', 'billing service', '0.0.0.0', 'cakes:read cakes:write'";

impl Connection {
    pub(crate) fn execute(&mut self, sql: &str) {
        match self {
            Self::Postgres(connection) => connection.batch_execute(sql),
            Self::Sqlite(connection) => connection.batch_execute(sql),
        }
        .unwrap();
    }

    /// Revokes a key by SQL, as an operator at a prompt would.
    pub(crate) fn revoke(&mut self, id: i64) {
        let now = match self {
            Self::Postgres(_) => "now()",
            Self::Sqlite(_) => "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
        };
        self.execute(&format!("UPDATE api_keys SET revoked_at = {now} WHERE id = {id}"));
    }

    fn insert(&mut self, digests: &[KeyDigest]) -> QueryResult<usize> {
        let bytes = || digests.iter().map(KeyDigest::as_bytes);
        match self {
            Self::Postgres(connection) => {
                let bytes: Vec<&[u8]> = bytes().map(<[u8; 32]>::as_slice).collect();
                sql_query(format!("{COLUMNS} SELECT digest, {VALUES} FROM unnest($1) AS digest"))
                    .bind::<Array<Binary>, _>(bytes)
                    .execute(connection)
            }
            Self::Sqlite(connection) => {
                let bytes: Vec<u8> = bytes().flatten().copied().collect();
                sql_query(format!(
                    "{COLUMNS} WITH RECURSIVE number(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM number WHERE i + 1 < ?2) \
                     SELECT substr(?1, 32 * i + 1, 32), {VALUES} FROM number"
                ))
                .bind::<Binary, _>(bytes)
                .bind::<BigInt, _>(i64::try_from(digests.len()).unwrap())
                .execute(connection)
            }
        }
    }

    fn insert_strangers(&mut self, count: usize) -> QueryResult<usize> {
        match self {
            Self::Postgres(connection) => sql_query(format!(
                "{COLUMNS} SELECT sha256(gen_random_uuid()::text::bytea), {VALUES} FROM generate_series(1, {count})"
            ))
            .execute(connection),
            Self::Sqlite(connection) => sql_query(format!(
                "{COLUMNS} WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < {count}) \
                 SELECT randomblob(32), {VALUES} FROM number"
            ))
            .execute(connection),
        }
    }
}
