//! The migrations of the tables. This crate runs them itself, or copies them into an application's
//! folder of Diesel migrations.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use diesel::{
    backend::Backend,
    connection::BoxableConnection,
    migration::{self, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion},
};
use diesel_migrations::MigrationHarness;

use super::{
    Database, TransactionError,
    connection::{Missing, open_or},
    schema_check::{check_tables, refuse_elsewhere},
};
use crate::error::Error;

/// The kind of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseKind {
    /// Postgres 13 or newer.
    Postgres,
    /// SQLite 3.35 or newer.
    Sqlite,
}

/// A folder under `migrations/`, with the texts of its two files.
struct Migration {
    folder: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! migrations {
    ($kind:literal: $($folder:literal),*) => {
        &[$(Migration {
            folder: $folder,
            up: include_str!(concat!("../../migrations/", $kind, "/", $folder, "/up.sql")),
            down: include_str!(concat!("../../migrations/", $kind, "/", $folder, "/down.sql")),
        }),*]
    };
}

/// The migrations, oldest first. A test compares this list with the folders.
const POSTGRES: &[Migration] = migrations!(
    "postgres":
    "00000000000101_create_api_keys",
    "00000000000102_log_api_key_changes",
    "00000000000103_record_api_key_events"
);
const SQLITE: &[Migration] = migrations!(
    "sqlite":
    "00000000000101_create_api_keys",
    "00000000000102_log_api_key_changes",
    "00000000000103_record_api_key_events"
);

/// The key of the advisory lock for migrations. The key is "app-key" in ASCII, so other programs
/// are unlikely to use it.
#[cfg(feature = "postgres")]
const ADVISORY_LOCK: i64 = 0x0061_7070_2d6b_6579;

/// Migrates a database to the newest version of the tables. Creates a missing SQLite file. Returns
/// the versions of the migrations that ran.
///
/// All pending migrations run in one transaction under a lock. So several replicas may start at
/// once, and a failure changes nothing. On Postgres, a trigger that is not enabled as in its
/// migration is enabled again.
pub(crate) fn migrate(database: &Database) -> Result<Vec<String>, Error> {
    let mut connection = open_or(database, Missing::Create)?;
    let queries = connection.queries();
    // If the tables are complete, nothing is written, so a read-only role or a standby is enough.
    if check_tables(database, queries).is_ok() {
        return Ok(Vec::new());
    }
    refuse_elsewhere(database, queries, |elsewhere| elsewhere.is_forbidden)?;
    queries
        .migrate(database)
        .map_err(|error| error.into_error_or(|source| not_migrated(database, source)))
}

#[cfg(feature = "postgres")]
pub(super) fn migrate_postgres(
    connection: &mut diesel::PgConnection,
    database: &Database,
) -> Result<Vec<String>, TransactionError> {
    use diesel::{Connection as _, RunQueryDsl as _, sql_query, sql_types};
    connection.transaction(|connection| {
        sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<sql_types::BigInt, _>(ADVISORY_LOCK)
            .execute(connection)?;
        let versions = run(database, connection, POSTGRES)?;
        super::postgres::repair(connection)?;
        Ok(versions)
    })
}

#[cfg(feature = "sqlite")]
pub(super) fn migrate_sqlite(
    connection: &mut diesel::SqliteConnection,
    database: &Database,
) -> Result<Vec<String>, TransactionError> {
    connection.exclusive_transaction(|connection| run(database, connection, SQLITE))
}

fn run<DB: Backend>(
    database: &Database,
    connection: &mut impl MigrationHarness<DB>,
    migrations: &'static [Migration],
) -> Result<Vec<String>, TransactionError> {
    let versions = connection
        .run_pending_migrations(Embedded(migrations))
        .map_err(|source| not_migrated(database, source))?;
    Ok(versions.iter().map(ToString::to_string).collect())
}

fn not_migrated(
    database: &Database,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::database(
        format!("cannot run the migrations of {database} (nothing was changed)"),
        source,
    )
}

/// The migrations as a Diesel migration source.
struct Embedded(&'static [Migration]);

impl<DB: Backend> MigrationSource<DB> for Embedded {
    fn migrations(&self) -> migration::Result<Vec<Box<dyn migration::Migration<DB>>>> {
        Ok(self.0.iter().map(|migration| Box::new(migration) as _).collect())
    }
}

impl<DB: Backend> migration::Migration<DB> for &'static Migration {
    fn run(&self, connection: &mut dyn BoxableConnection<DB>) -> migration::Result<()> {
        connection.batch_execute(self.up).map_err(|error| format!("{self}: {error}").into())
    }

    fn revert(&self, connection: &mut dyn BoxableConnection<DB>) -> migration::Result<()> {
        connection.batch_execute(self.down).map_err(|error| format!("{self}: {error}").into())
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        *self
    }

    fn name(&self) -> &dyn MigrationName {
        *self
    }
}

impl MigrationMetadata for Migration {}

impl MigrationName for Migration {
    /// Returns the version that Diesel reads from the folder's name.
    fn version(&self) -> MigrationVersion<'_> {
        self.folder.split('_').next().unwrap_or_default().into()
    }
}

impl fmt::Display for Migration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.folder)
    }
}

/// Writes the migrations into a folder of Diesel migrations, and returns the folders to which it
/// wrote.
///
/// The stock `diesel` command can run the copies. The copies sort before the application's own
/// migrations, so the application's tables can reference the key tables. Existing copies stay
/// unchanged.
///
/// # Errors
/// Returns an error if the folder does not exist, or if a file cannot be read or written. Also
/// returns an error, and writes nothing, if an existing file differs from the migration of this
/// release.
pub fn copy(directory: impl AsRef<Path>, database: DatabaseKind) -> Result<Vec<PathBuf>, Error> {
    let directory = directory.as_ref();
    if !directory.is_dir() {
        return Err(Error::invalid_input(format!(
            "cannot copy the migrations: the folder {} does not exist; give the folder of your \
             Diesel migrations, usually `migrations`",
            directory.display()
        )));
    }
    let migrations: &[Migration] = match database {
        DatabaseKind::Postgres => POSTGRES,
        DatabaseKind::Sqlite => SQLITE,
    };
    let mut missing = Vec::new();
    for migration in migrations {
        let folder = directory.join(migration.folder);
        for (name, text) in [("up.sql", migration.up), ("down.sql", migration.down)] {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(there) if there == text => {}
                Ok(_) => {
                    return Err(Error::conflict(format!(
                        "cannot copy the migrations: {} differs from this release's migration \
                         (nothing was written). A migration that has run must not change; if this \
                         file was never run, move it away",
                        path.display()
                    )));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    missing.push((folder.clone(), path, text));
                }
                Err(error) => {
                    return Err(Error::os(format!("cannot read {}", path.display()), error));
                }
            }
        }
    }
    let mut made = Vec::new();
    for (folder, path, text) in missing {
        fs::create_dir_all(&folder)
            .and_then(|()| write_whole(&path, text))
            .map_err(|error| Error::os(format!("cannot write {}", path.display()), error))?;
        if !made.contains(&folder) {
            made.push(folder);
        }
    }
    Ok(made)
}

/// Writes a file under another name first and then renames the file. Otherwise, a crash could leave
/// an incomplete file, which would look like a copy that someone has changed.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("sql.part");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_migrations_equals_the_folders() {
        for (database, migrations) in [("postgres", POSTGRES), ("sqlite", SQLITE)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
            let mut names: Vec<String> = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            assert_eq!(
                names,
                migrations.iter().map(|migration| migration.folder).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn copying_migrations_twice_never_overwrites_a_file() {
        let folder = std::env::temp_dir().join(format!("app-key-copy-{}", std::process::id()));
        assert!(
            copy(&folder, DatabaseKind::Sqlite).unwrap_err().is_invalid_input(),
            "a missing folder is not created"
        );
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(copy(&folder, DatabaseKind::Sqlite).unwrap().len(), SQLITE.len());
        assert!(copy(&folder, DatabaseKind::Sqlite).unwrap().is_empty());
        let changed = folder.join(SQLITE[1].folder).join("down.sql");
        fs::write(&changed, "-- changed").unwrap();
        fs::remove_file(folder.join(SQLITE[0].folder).join("up.sql")).unwrap();
        assert!(copy(&folder, DatabaseKind::Sqlite).unwrap_err().is_conflict());
        assert_eq!(fs::read_to_string(&changed).unwrap(), "-- changed");
        assert!(
            !folder.join(SQLITE[0].folder).join("up.sql").exists(),
            "nothing is written where one differs"
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
