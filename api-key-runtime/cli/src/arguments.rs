//! The command line: subcommands, options and their help.

use std::{path::PathBuf, time::Duration};

use api_key_runtime::{
    Error, ScopeSet,
    admin::{AllowedIps, KeyFormat, KeyState, ListKeys, NewKey},
    migrations::DatabaseKind,
};
use chrono::{DateTime, Utc};
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::failure::Failure;

const MAIN_AFTER_HELP: &str = "\
Environment variables (use the same values as the service):
  DATABASE_URL             postgres://USER@HOST/DATABASE or the path of an SQLite file; required
  APP_KEY_PREFIX           prefix of new keys; default: ak_live_
  APP_KEY_PEPPER           pepper of the service, if it has one: at least 32 random bytes in base64
  APP_KEY_PEPPER_PREVIOUS  previous pepper while the pepper is being changed, or `none`
  APP_KEY_PEPPER_FILE, APP_KEY_PEPPER_PREVIOUS_FILE
                           path of a file that contains the pepper
  APP_KEY_ACCEPT_IMPORTED  1 if the service accepts keys of other formats, such as UUIDs
  RUST_LOG                 log level of the library; default: warn

Exit codes:
  0  success
  1  failure: refused, not found, or a database error
  2  usage error; nothing was changed

Getting started:
  app-key migrate
  KEY=$(app-key issue --name me --ip 127.0.0.1)
  app-key list";

const MIGRATE_AFTER_HELP: &str = "\
Creates the SQLite file if it does not exist. Safe to run again, and on several machines at the same time. Not needed
if the application's own Diesel migrations contain a copy of these migrations.

Example:
  DATABASE_URL=postgres://cakes@db.example/cakes app-key migrate";

const COPY_AFTER_HELP: &str = "\
For an application that runs its own Diesel migrations: the `diesel` command then runs these migrations too. They run
before the application's own, which can therefore refer to the tables. Existing files are not changed. Needs no
database.

Example:
  app-key migrations copy migrations --database postgres && diesel migration run";

const BACKUP_AFTER_HELP: &str = "\
Works while services are running. The copy is one file and is checked after writing. To restore it, stop all programs
that use the database, remove its -wal and -shm files, and copy the backup over it with cp. For Postgres use pg_dump.

Example:
  app-key backup keys-2027-01-31.db";

const ISSUE_AFTER_HELP: &str = "\
The key is the only line on standard output. It cannot be shown again.

Examples:
  app-key issue --name billing --ip 10.0.0.0/8 --scope cakes:read --expires 90d
  KEY=$(app-key issue --name me --ip 127.0.0.1 --scope \"cakes:write cakes:delete\")";

const LIST_AFTER_HELP: &str = "\
Long texts are cut, and a narrow terminal hides some columns; `show` and --json print everything. Keys cannot be shown,
only their first characters. Services record usage every few seconds.

Examples:
  app-key list
  app-key list --json | jq '.[] | select(.state == \"active\" and .expires_at != null) | .id'
  app-key list --json | jq '.[] | select(.last_used_at == null) | .id'";

const SHOW_AFTER_HELP: &str = "\
Examples:
  app-key show 17
  app-key show - < found-key.txt";

const DISABLE_AFTER_HELP: &str = "\
`app-key enable` undoes this.

Example:
  app-key disable 17";

const ENABLE_AFTER_HELP: &str = "\
Example:
  app-key enable 17";

const REVOKE_AFTER_HELP: &str = "\
Asks for confirmation if standard input and standard error are a terminal. With the key on standard input (`-`), the
question is asked on the controlling terminal; without a terminal, --yes is required. `app-key disable` can be undone.

Examples:
  app-key revoke 17
  app-key revoke 17 --yes
  app-key revoke - --yes < leaked-key.txt";

/// Issues, lists and revokes API keys in a database
#[derive(Debug, Parser)]
#[command(
    name = "app-key",
    version,
    arg_required_else_help = true,
    max_term_width = 120,
    after_help = MAIN_AFTER_HELP
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or upgrade the tables
    #[command(after_help = MIGRATE_AFTER_HELP)]
    Migrate,
    /// Work with the migration files
    #[command(subcommand)]
    Migrations(Migrations),
    /// Copy an SQLite database to a new file
    #[command(after_help = BACKUP_AFTER_HELP)]
    Backup(Backup),
    /// Issue a key and print it (shown only once)
    #[command(after_help = ISSUE_AFTER_HELP)]
    Issue(Issue),
    /// List all keys, including expired and revoked ones, oldest first
    #[command(after_help = LIST_AFTER_HELP)]
    List(List),
    /// Show a key and its usage
    #[command(after_help = SHOW_AFTER_HELP)]
    Show(Show),
    /// Disable a key until it is enabled again
    #[command(after_help = DISABLE_AFTER_HELP)]
    Disable(KeyId),
    /// Enable a disabled key
    #[command(after_help = ENABLE_AFTER_HELP)]
    Enable(KeyId),
    /// Revoke a key; this cannot be undone
    #[command(after_help = REVOKE_AFTER_HELP)]
    Revoke(Revoke),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Migrations {
    /// Write the migrations into a folder of Diesel migrations
    #[command(after_help = COPY_AFTER_HELP)]
    Copy(CopyMigrations),
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// New file; must not exist yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CopyMigrations {
    /// Folder of your Diesel migrations
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Database of the migrations
    #[arg(long, value_parser = one_of(&DATABASES))]
    pub(crate) database: DatabaseKind,
}

const DATABASES: [(&str, DatabaseKind); 2] =
    [("postgres", DatabaseKind::Postgres), ("sqlite", DatabaseKind::Sqlite)];

/// Returns a parser for the names of values of the library.
fn one_of<T: Copy + Send + Sync + 'static>(
    named: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(named.iter().map(|(name, _)| *name)).try_map(move |given| {
        let found = named.iter().find(|(name, _)| *name == given);
        found.map(|(_, value)| *value).ok_or("not a possible value")
    })
}

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
    /// Expiry: a duration (90d; units s, m, h, d, w) or a time (2030-01-31T00:00:00Z); default:
    /// never
    #[arg(long, value_name = "90d|RFC3339", value_parser = expiry)]
    expires: Option<Expiry>,
    /// Format of the key; use `uuid` only for clients that require UUIDs
    #[arg(long, default_value = "native", value_parser = one_of(&FORMATS))]
    format: KeyFormat,
    /// Print a JSON object with all columns, the state and the key
    #[arg(long)]
    pub(crate) json: bool,
}

const FORMATS: [(&str, KeyFormat); 2] = [("native", KeyFormat::Native), ("uuid", KeyFormat::Uuid)];

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List only keys of this owner
    #[arg(long)]
    owner: Option<String>,
    /// List only keys in this state
    #[arg(long, value_parser = one_of(&STATES))]
    state: Option<KeyState>,
    /// List only keys with an id above this
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// List at most this many keys, oldest first
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// Print a JSON array with all columns and the state
    #[arg(long)]
    pub(crate) json: bool,
}

const STATES: [(&str, KeyState); 4] = [
    (KeyState::Active.as_str(), KeyState::Active),
    (KeyState::Expired.as_str(), KeyState::Expired),
    (KeyState::Disabled.as_str(), KeyState::Disabled),
    (KeyState::Revoked.as_str(), KeyState::Revoked),
];

impl List {
    pub(crate) fn wanted(&self) -> ListKeys {
        let mut wanted = ListKeys::new();
        wanted.owner.clone_from(&self.owner);
        wanted.state = self.state;
        wanted.after_id = self.after;
        wanted.limit = self.limit;
        wanted
    }

    /// Returns whether keys may exist that are not listed.
    pub(crate) fn is_partial(&self) -> bool {
        let Self { owner, state, after, limit, .. } = self;
        owner.is_some() || state.is_some() || after.is_some() || limit.is_some()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) key: KeyId,
    /// Print a JSON object with all columns and the state
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) key: KeyId,
    /// Skip confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyId {
    /// Id of the key, as `app-key list` shows it, or `-` to read the key itself from standard input
    #[arg(value_name = "ID|-", value_parser = named_key)]
    pub(crate) id: NamedKey,
}

/// The key that a command is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NamedKey {
    Id(i64),
    /// The key itself is on standard input.
    Input,
}

fn named_key(text: &str) -> Result<NamedKey, &'static str> {
    match text.parse() {
        Ok(id) if id > 0 => Ok(NamedKey::Id(id)),
        _ if text == "-" => Ok(NamedKey::Input),
        _ => Err("write the id of the key, or `-` to read the key itself from standard input"),
    }
}

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
            None => new,
            Some(Expiry::In(lifetime)) => new.expires_in(lifetime),
            Some(Expiry::At(end)) => new.expires_at(end),
        })
    }
}

fn allowed_ips(text: &str) -> Result<AllowedIps, Error> {
    if text == "any" {
        return Ok(AllowedIps::any());
    }
    text.parse()
}

fn scopes(text: &str) -> Result<ScopeSet, String> {
    if text.is_empty() {
        return Err("it is empty; for a key without scopes, omit --scope".to_owned());
    }
    text.parse().map_err(|error: Error| error.to_string())
}

fn join_allowed_ips(lists: &[AllowedIps]) -> Result<AllowedIps, Failure> {
    if lists.len() > 1 && lists.contains(&AllowedIps::any()) {
        return Err(Failure::Usage(
            "--ip any allows every address; remove it, or remove the other --ip",
        ));
    }
    let texts: Vec<&str> = lists.iter().map(AllowedIps::as_str).collect();
    Ok(texts.join(" ").parse()?)
}

/// The expiry of a key.
#[derive(Clone, Copy, Debug)]
enum Expiry {
    /// This long after the key is issued.
    In(Duration),
    At(DateTime<Utc>),
}

/// Parses a duration such as `90d`, or a time in RFC 3339.
fn expiry(text: &str) -> Result<Expiry, &'static str> {
    lifetime(text).map(Expiry::In).or_else(|| moment(text).map(Expiry::At)).ok_or(
        "write a duration as a number and s, m, h, d or w (90d), or a time as 2030-01-31T00:00:00Z",
    )
}

fn lifetime(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(number.parse::<u64>().ok()?.saturating_mul(seconds)))
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    // A leap second (23:59:60) becomes the next second: databases do not support leap seconds.
    DateTime::from_timestamp_micros(moment.timestamp_micros())
}
