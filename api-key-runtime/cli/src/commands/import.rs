//! `app-key import`.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    rc::Rc,
};

use api_key_runtime::{
    Error,
    admin::{Admin, AllowedIps, ImportProgress, ImportReport, SourceTable},
};
use clap::Args;

use super::DryRun;
use crate::{
    csv_keys::{Form, Rows},
    failure::Failure,
    json,
    named_key::Question,
    progress::Progress,
    text::say,
    values::{allowed_ips, join_allowed_ips, one_of},
};

pub(crate) const IMPORT_AFTER_HELP: &str = "\
Clients keep their keys. All rows are imported in one transaction, or none is: if a row is refused, nothing changes. \
Rows whose key is in the table already are skipped, even if the key is revoked or was pruned, so an import can be \
repeated. The audit log gets one event.

A service accepts imported keys only with APP_KEY_ACCEPT_IMPORTED=1, which this command requires too. Without a \
pepper, a key is refused if its length times log2(number of distinct characters) is below 80 bits. A key has at most \
256 characters: letters, digits and -._~+/=

The first line of a CSV file names its columns: key (or digest), ip, and optionally name, owner, scopes, expires. \
Separate IP addresses and scopes by spaces. The ip `any` or 0.0.0.0 allows every address. Messages identify a refused \
row by its line in the file, or by its integer primary key in the table. If the table has no integer primary key, \
rows are numbered.

--erase-plaintext sets the key column of the table to null, or to `erased-` and 32 random digits if it cannot be null. \
The database then removes its old copies: VACUUM and a checkpoint on SQLite, VACUUM FULL of the table on Postgres, \
which locks the table. Backups, replicas and archived logs still contain the keys. A later import skips the erased rows.

Examples:
  app-key import --from-table api_auth --key-column key --ip-column ip --name-column description --dry-run
  app-key import --from-table api_auth --key-column key --ip-column ip --name-column description --erase-plaintext
  app-key import --csv keys.csv
  gpg --decrypt keys.csv.gpg | app-key import --csv - --ip 10.0.0.0/8";

/// Maximum number of refused rows in the text output.
const MAX_SHOWN: u64 = 20;

#[derive(Debug, Args)]
#[group(id = "source", required = true, multiple = false, args = ["csv", "from_table"])]
pub(crate) struct Import {
    /// CSV file, or `-` for standard input
    #[arg(long, value_name = "FILE|-")]
    csv: Option<String>,
    /// Table in the same database, such as `api_auth` or `old.api_auth`
    #[arg(long, value_name = "TABLE")]
    from_table: Option<String>,
    /// Column of the table with the keys
    #[arg(long, default_value = "key", value_name = "COLUMN", conflicts_with = "csv")]
    key_column: String,
    /// Column of the table with the IP addresses; 0.0.0.0 allows every address
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["csv", "ip"])]
    ip_column: Option<String>,
    /// Column of the table with the names; the default name is `imported`
    #[arg(long, value_name = "COLUMN", conflicts_with = "csv")]
    name_column: Option<String>,
    /// IP allow list of every key, if the source has none: address, CIDR block or `any`; repeatable
    #[arg(long, value_name = "ADDR|CIDR|any", value_parser = allowed_ips)]
    ip: Vec<AllowedIps>,
    /// The CSV file has digests of keys, in hexadecimal
    #[arg(long, value_name = "ALGORITHM", conflicts_with = "from_table", value_parser = one_of(&DIGESTS))]
    digests: Option<()>,
    /// Erase the imported keys from the table; asks for confirmation
    #[arg(long, conflicts_with = "csv")]
    erase_plaintext: bool,
    /// Skip confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// Print JSON lines: an object for each refused row, then an object with the numbers of rows
    #[arg(long)]
    json: bool,
}

const DIGESTS: [(&str, ()); 1] = [("sha256", ())];

impl Import {
    fn allowed_ips(&self) -> Result<Option<AllowedIps>, Failure> {
        if self.ip.is_empty() { Ok(None) } else { join_allowed_ips(&self.ip).map(Some) }
    }

    fn table(&self, name: &str) -> Result<SourceTable, Failure> {
        let mut table = SourceTable::new(name, &self.key_column);
        match (&self.ip_column, self.allowed_ips()?) {
            (Some(column), _) => table = table.ip_column(column),
            (None, Some(ips)) => table = table.allowed_ips(ips),
            (None, None) => {
                return Err(Failure::Usage(
                    "the IP allow list of the keys is missing; add --ip-column with a column of the table, or --ip for every key, such as --ip any",
                ));
            }
        }
        if let Some(column) = &self.name_column {
            table = table.name_column(column);
        }
        Ok(if self.erase_plaintext { table.erase_plaintext() } else { table })
    }

    fn ask(&self, table: &str) -> Result<(), Failure> {
        if !self.erase_plaintext || self.yes || self.dry_run.dry_run {
            return Ok(());
        }
        Question::OnStandardError.ask(format_args!(
            "Import the keys of {table} and erase them there? The erased keys cannot be restored."
        ))
    }
}

/// The output of an import in progress.
struct Output {
    bar: Progress,
    /// The word before the number of a refused row: `row` or `line`.
    word: &'static str,
    is_json: bool,
    refused: u64,
    /// The length of the CSV file in bytes, if the length is known.
    bytes: Option<u64>,
    /// The number of bytes of the CSV file that were read.
    read: Rc<Cell<u64>>,
    /// The first error of a write to standard output.
    failed: Option<io::Error>,
}

impl Output {
    fn show(&mut self, progress: ImportProgress<'_>) {
        match progress {
            ImportProgress::Read { rows, of, .. } => match (of, self.bytes) {
                (None, Some(bytes)) => self.bar.rows(rows, self.read.get(), Some(bytes)),
                (of, _) => self.bar.rows(rows, rows, of),
            },
            ImportProgress::Refused { row, reason, .. } => self.refuse(row, reason),
            ImportProgress::Storing => self.bar.step("Storing the keys ..."),
            ImportProgress::Forgetting => self.bar.step("Removing old copies of the keys ..."),
            _ => {}
        }
    }

    fn refuse(&mut self, row: u64, reason: &str) {
        self.refused += 1;
        if self.is_json {
            if let Err(error) = json::print_refused(row, reason) {
                self.failed.get_or_insert(error);
            }
        } else if self.refused <= MAX_SHOWN {
            self.bar.clear();
            say(format_args!("{} {row}: {reason}", self.word));
        }
    }

    /// Prints the result.
    fn finish(
        mut self,
        imported: Result<ImportReport, Error>,
        dry_run: &DryRun,
    ) -> Result<(), Failure> {
        self.bar.clear();
        if let Some(error) = self.failed {
            return Err(Failure::Output(error));
        }
        if self.refused > MAX_SHOWN && !self.is_json {
            say(format_args!("and {} more", self.refused - MAX_SHOWN));
        }
        if self.is_json && (self.refused > 0 || imported.is_ok()) {
            json::print_imported(
                imported.as_ref().unwrap_or(&ImportReport::default()),
                self.refused,
            )?;
        }
        match imported {
            Ok(report) => {
                if !self.is_json {
                    say_report(&report, dry_run);
                }
                Ok(())
            }
            Err(error) if self.refused > 0 => Err(Failure::RefusedRows(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

fn say_report(report: &ImportReport, dry_run: &DryRun) {
    let counted =
        |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    say(format_args!(
        "{} {}.",
        dry_run.verb("Imported", "Would import"),
        counted(report.imported, "key")
    ));
    for (count, why) in [
        (report.existing, "key already in the table, not changed"),
        (report.pruned, "key was pruned and stays invalid"),
        (report.blank, "no key"),
    ] {
        if count > 0 {
            say(format_args!("Skipped {}: {why}.", counted(count, "row")));
        }
    }
    if report.erased > 0 {
        say(format_args!(
            "{} {} from the source table.",
            dry_run.verb("Erased", "Would erase"),
            counted(report.erased, "key")
        ));
    }
}

pub(crate) fn import(admin: &Admin, asked: &Import) -> Result<(), Failure> {
    let mut output = Output {
        bar: Progress::new(),
        word: "row",
        is_json: asked.json,
        refused: 0,
        bytes: None,
        read: Rc::default(),
        failed: None,
    };
    let imported = match (&asked.from_table, &asked.csv) {
        (Some(name), _) => {
            let table = asked.table(name)?;
            asked.ask(name)?;
            admin.import_table(&table, |progress| output.show(progress))
        }
        (None, csv) => {
            let (input, bytes) = open(csv.as_deref().unwrap_or("-"))?;
            output.bytes = bytes;
            output.word = "line";
            let form =
                Form { is_digests: asked.digests.is_some(), allowed_ips: asked.allowed_ips()? };
            let rows = Rows::new(input, form, Rc::clone(&output.read))?;
            admin.import(rows, |progress| output.show(progress))
        }
    };
    output.finish(imported, &asked.dry_run)
}

/// Opens a file or standard input. Also returns the length of a file, if the length is known.
fn open(name: &str) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if name == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let failed = |source| Failure::Csv { name: name.to_owned(), source };
    let file = File::open(name).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((Box::new(file), Some(bytes).filter(|bytes| *bytes > 0)))
}
