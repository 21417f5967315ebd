//! `app-key issue`, and the output of a key that was just issued.

use std::io::{self, BufWriter, Write as _};

use api_key_runtime::{
    ScopeSet,
    admin::{Admin, AllowedIps, IssuedKey, KeyFormat, NewKey},
};
use clap::Args;

use crate::{
    failure::Failure,
    json,
    text::{self, say},
    values::{Expiry, allowed_ips, expiry, join_allowed_ips, one_of, scopes},
};

pub(crate) const ISSUE_AFTER_HELP: &str = "\
The key is the only line on standard output. It cannot be shown again.

Examples:
  app-key issue --name billing --ip 10.0.0.0/8 --scope cakes:read --expires 90d
  KEY=$(app-key issue --name me --ip 127.0.0.1 --scope \"cakes:write cakes:delete\")";

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// Name of the key, such as its purpose
    #[arg(long)]
    name: String,
    /// IP address or CIDR block that may use the key, or `any`; repeatable
    #[arg(long, required = true, value_name = "ADDR|CIDR|any", value_parser = allowed_ips)]
    ip: Vec<AllowedIps>,
    /// Scope of the key; repeatable, or several separated by spaces
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scopes)]
    scopes: Vec<ScopeSet>,
    /// User of your application that owns the key
    #[arg(long)]
    owner: Option<String>,
    /// Expiry: a duration (90d; units s, m, h, d, w), a time (2030-01-31T00:00:00Z), or `never`
    #[arg(long, default_value = "never", value_name = "90d|RFC3339|never", value_parser = expiry)]
    expires: Expiry,
    /// Format of the key; use `uuid` only for clients that require UUIDs
    #[arg(long, default_value = "native", value_parser = one_of(&FORMATS))]
    format: KeyFormat,
    #[command(flatten)]
    pub(crate) dry_run: super::DryRun,
    /// Print a JSON object with all columns, the state and the key
    #[arg(long)]
    pub(crate) json: bool,
}

const FORMATS: [(&str, KeyFormat); 2] = [("native", KeyFormat::Native), ("uuid", KeyFormat::Uuid)];

impl Issue {
    pub(crate) fn new_key(&self) -> Result<NewKey, Failure> {
        let mut new = NewKey::new(&self.name)
            .allow(join_allowed_ips(&self.ip)?)?
            .scopes(self.scopes.iter().cloned().collect::<ScopeSet>())?
            .format(self.format);
        if let Some(owner) = &self.owner {
            new = new.owner(owner);
        }
        Ok(match self.expires {
            Expiry::Never => new,
            Expiry::In(lifetime) => new.expires_in(lifetime),
            Expiry::At(end) => new.expires_at(end),
        })
    }
}

/// Returns whether standard output is discarded. The Rust runtime opens a closed standard output as
/// `/dev/null`.
#[cfg(unix)]
fn is_output_discarded() -> bool {
    use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
    let device = |file: std::fs::File| file.metadata().map(|metadata| metadata.rdev()).ok();
    let output = io::stdout().as_fd().try_clone_to_owned().ok().and_then(|fd| device(fd.into()));
    let null = std::fs::File::open("/dev/null").ok().and_then(device);
    output.is_none() || output == null
}

#[cfg(not(unix))]
fn is_output_discarded() -> bool {
    false
}

pub(crate) fn issue(admin: &Admin, asked: &Issue) -> Result<(), Failure> {
    require_output(&asked.dry_run)?;
    let issued = admin.issue(&asked.new_key()?)?;
    describe(admin, &issued);
    print_key(admin, &issued, &asked.dry_run, asked.json)
}

/// Writes the details of a new key to standard error. Errors are ignored: the key is already in the
/// table, and must be printed even if its details cannot be written.
pub(crate) fn describe(admin: &Admin, issued: &IssuedKey) {
    let mut out = BufWriter::new(io::stderr().lock());
    let _ = text::write_issued(&mut out, &issued.record, admin.now());
}

/// Returns an error if standard output is discarded, because a new key would then be lost.
pub(crate) fn require_output(dry_run: &super::DryRun) -> Result<(), Failure> {
    if !dry_run.dry_run && is_output_discarded() { Err(Failure::Discarded) } else { Ok(()) }
}

/// Prints a new key on standard output. A dry run prints no key.
pub(crate) fn print_key(
    admin: &Admin,
    issued: &IssuedKey,
    dry_run: &super::DryRun,
    as_json: bool,
) -> Result<(), Failure> {
    if dry_run.dry_run {
        say(format_args!("Dry run: no key was issued."));
        return Ok(());
    }
    say(format_args!("The key itself is on standard output. This is the only time it is shown."));
    let mut out = io::stdout().lock();
    let printed = if as_json {
        json::write_issued(&mut out, issued, admin.now())
    } else {
        writeln!(out, "{}", issued.secret.expose_secret())
    };
    printed
        .and_then(|()| out.flush())
        .map_err(|source| Failure::Unprinted { id: issued.record.id, source })
}
