//! `app-key backup`.

use std::path::PathBuf;

use api_key_runtime::admin::Admin;
use clap::Args;
use serde_json::json;

use crate::{
    failure::Failure,
    text::{one_line, say},
};

pub(crate) const BACKUP_AFTER_HELP: &str = "\
Works while services are running. The copy is one file, which is checked after writing. To restore the copy, stop all \
programs that use the database, remove its -wal and -shm files, and copy the backup over the database with cp. For \
Postgres use pg_dump.

Example:
  app-key backup keys-2027-01-31.db";

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// New file; must not exist yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    json: super::Json,
}

pub(crate) fn back_up(admin: &Admin, asked: &Backup) -> Result<(), Failure> {
    admin.back_up(&asked.file)?;
    asked.json.print(&json!({ "file": asked.file.to_string_lossy() }))?;
    say(format_args!("Wrote {}.", one_line(&asked.file.display().to_string())));
    Ok(())
}
