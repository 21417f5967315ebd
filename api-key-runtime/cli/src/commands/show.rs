//! `app-key show`.

use std::io::{self, BufWriter, Write as _};

use api_key_runtime::admin::Admin;
use clap::Args;

use crate::{
    failure::Failure,
    json,
    named_key::{KeyId, record_of},
    text,
};

pub(crate) const SHOW_AFTER_HELP: &str = "\
Examples:
  app-key show 17
  app-key show - < found-key.txt";

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) key: KeyId,
    /// Print a JSON object with all columns and the state
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn show(admin: &Admin, asked: &Show) -> Result<(), Failure> {
    let record = record_of(admin, asked.key.id)?;
    let usage = admin.usage(record.id)?;
    let (usage, now) = (usage.as_ref(), admin.now());
    let mut out = BufWriter::new(io::stdout().lock());
    if asked.json {
        json::write_record(&mut out, &record, usage, now)?;
    } else {
        text::write_details(&mut out, &record, usage, now)?;
    }
    Ok(out.flush()?)
}
