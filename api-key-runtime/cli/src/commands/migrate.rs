//! `app-key migrate` and `app-key migrations`.

use std::path::PathBuf;

use api_key_runtime::{
    admin::Admin,
    migrations::{self, DatabaseKind},
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    failure::Failure,
    text::{one_line, say},
    values::one_of,
};

pub(crate) const MIGRATE_AFTER_HELP: &str = "\
Creates the SQLite file if it does not exist. Safe to run again, and on several machines at the same time. Not needed \
if the application's own Diesel migrations contain a copy of these migrations.

Example:
  DATABASE_URL=postgres://cakes@db.example/cakes app-key migrate";

const COPY_AFTER_HELP: &str = "\
For an application that runs its own Diesel migrations: the `diesel` command then runs these migrations too. They run \
before the application's own migrations, which can therefore refer to the tables. Existing files are not changed. \
No database is needed.

Example:
  app-key migrations copy migrations --database postgres && diesel migration run";

#[derive(Debug, Subcommand)]
pub(crate) enum Migrations {
    /// Write the migrations into a folder of Diesel migrations
    #[command(after_help = COPY_AFTER_HELP)]
    Copy(CopyMigrations),
}

#[derive(Debug, Args)]
pub(crate) struct CopyMigrations {
    /// Folder of your Diesel migrations
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Database of the migrations
    #[arg(long, value_parser = one_of(&DATABASES))]
    pub(crate) database: DatabaseKind,
    #[command(flatten)]
    json: super::Json,
}

const DATABASES: [(&str, DatabaseKind); 2] =
    [("postgres", DatabaseKind::Postgres), ("sqlite", DatabaseKind::Sqlite)];

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    json: super::Json,
}

pub(crate) fn migrate(admin: &Admin, asked: &Migrate) -> Result<(), Failure> {
    let versions = admin.migrate()?;
    asked.json.print(&json!({ "migrations": versions }))?;
    if versions.is_empty() {
        say(format_args!("The tables are up to date."));
    } else {
        say(format_args!("Ran the migrations {}.", versions.join(", ")));
    }
    Ok(())
}

pub(crate) fn copy(asked: &CopyMigrations) -> Result<(), Failure> {
    let made = migrations::copy(&asked.directory, asked.database)?;
    let folders: Vec<_> = made.iter().map(|folder| folder.to_string_lossy()).collect();
    asked.json.print(&json!({ "folders": folders }))?;
    if made.is_empty() {
        say(format_args!("The migrations already exist."));
    }
    for folder in made {
        say(format_args!("Wrote {}.", one_line(&folder.display().to_string())));
    }
    Ok(())
}
