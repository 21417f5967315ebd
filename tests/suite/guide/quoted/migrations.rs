use std::{error::Error, path::Path};

use api_key_runtime::{AppKeys, migrations::{self, DatabaseKind}};
use diesel::{Connection as _, SqliteConnection};
use diesel_migrations::{FileBasedMigrations, MigrationHarness as _};

/// Runs all migrations of this folder, and returns their number.
fn migrate(folder: &Path, url: &str) -> Result<usize, Box<dyn Error + Send + Sync>> {
    let mut connection = SqliteConnection::establish(url)?;
    let pending = FileBasedMigrations::from_path(folder)?;
    Ok(connection.run_pending_migrations(pending)?.len())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let folder = Path::new("migrations");
    // Once, on a developer's machine. The files are committed with yours.
    migrations::copy(folder, DatabaseKind::Sqlite)?;
    // At each deployment. A service can embed the folder with embed_migrations!().
    migrate(folder, "shop.db")?;
    let keys = AppKeys::builder().database_url("shop.db").build()?;
    println!("{}", keys.health());
    Ok(())
}
