//! The migrations, embedded for applications that do not keep them in a folder of their own.

use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Connection, Database, connection::Missing};
use crate::Error;

#[cfg(feature = "postgres")]
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
#[cfg(feature = "sqlite")]
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Any number that no other program is likely to lock: "app-key" in ASCII.
#[cfg(feature = "postgres")]
const ADVISORY_LOCK: i64 = 0x0061_7070_2d6b_6579;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Brings a database to the newest tables, making the file where there is none, and answers the versions it ran.
///
/// All of it is one transaction under a lock: ten replicas may start at once, and one that fails leaves nothing half-done.
pub(crate) fn migrate(database: &Database) -> Result<Vec<String>, Error> {
    let failed = |source: BoxError| {
        Error::database(
            format!("the migrations of {database} did not run, and nothing was changed"),
            source,
        )
    };
    match Connection::open_or(database, Missing::Create)? {
        #[cfg(feature = "postgres")]
        Connection::Postgres(mut connection) => migrate_postgres(&mut connection),
        #[cfg(feature = "postgres")]
        Connection::PooledPostgres(mut connection) => migrate_postgres(&mut connection),
        #[cfg(feature = "sqlite")]
        Connection::Sqlite(mut connection) => migrate_sqlite(&mut connection),
        #[cfg(feature = "sqlite")]
        Connection::PooledSqlite(mut connection) => migrate_sqlite(&mut connection),
    }
    .map_err(|Failed(source)| failed(source))
}

#[cfg(feature = "postgres")]
fn migrate_postgres(connection: &mut diesel::PgConnection) -> Result<Vec<String>, Failed> {
    use diesel::{Connection as _, RunQueryDsl as _, sql_query, sql_types};
    connection.transaction(|connection| {
        sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<sql_types::BigInt, _>(ADVISORY_LOCK)
            .execute(connection)
            .map_err(Failed::from)?;
        run(connection, POSTGRES)
    })
}

#[cfg(feature = "sqlite")]
fn migrate_sqlite(connection: &mut diesel::SqliteConnection) -> Result<Vec<String>, Failed> {
    connection.exclusive_transaction(|connection| run(connection, SQLITE))
}

fn run<DB, C>(connection: &mut C, migrations: EmbeddedMigrations) -> Result<Vec<String>, Failed>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
    EmbeddedMigrations: diesel::migration::MigrationSource<DB>,
{
    let versions = connection.run_pending_migrations(migrations).map_err(Failed)?;
    Ok(versions.iter().map(ToString::to_string).collect())
}

/// Either kind of error, for one that can come out of a transaction.
struct Failed(BoxError);

impl From<diesel::result::Error> for Failed {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}
