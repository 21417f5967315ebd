//! What can be asked for on the command line.

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
Environment (the service reads the same, so give both the same values):
  DATABASE_URL             postgres://USER@HOST/DATABASE or the path of an SQLite file; required
  APP_KEY_PREFIX           what new keys begin with; ak_live_ unless set
  APP_KEY_PEPPER           the service's pepper, if it has one: 32 random bytes or more in base64
  APP_KEY_PEPPER_PREVIOUS  while the pepper is being changed, the one before, or `none`
  APP_KEY_PEPPER_FILE, APP_KEY_PEPPER_PREVIOUS_FILE
                           the path of a file that holds it instead
  APP_KEY_ACCEPT_IMPORTED  1 where the service accepts keys of other forms, such as UUIDs
  RUST_LOG                 which messages of the library are shown; warn unless set

Exit codes:
  0  done
  1  refused, not found, or the database failed
  2  not understood; nothing was changed

A beginning:
  app-key migrate
  KEY=$(app-key issue --name me --ip 127.0.0.1)
  app-key list";

const MIGRATE_AFTER_HELP: &str = "\
Makes the SQLite file where there is none. Safe to run again, and from several machines at once. Leave it out where
the application's own Diesel migrations hold a copy of these.

Example:
  DATABASE_URL=postgres://cakes@db.example/cakes app-key migrate";

const COPY_AFTER_HELP: &str = "\
For an application that runs its own Diesel migrations: the stock `diesel` command then owns ours as well. They sort
before yours, so that yours can refer to the tables, and what is there already is left alone. Needs no database.

Example:
  app-key migrations copy migrations --database postgres && diesel migration run";

const BACKUP_AFTER_HELP: &str = "\
Works beside running services. The copy is one file with everything in it, checked by opening it. To restore it, stop
every program that uses the database, remove its -wal and -shm files, and copy the backup over it by cp. For Postgres use pg_dump.

Example:
  app-key backup keys-2027-01-31.db";

const ISSUE_AFTER_HELP: &str = "\
The key is the only line on standard output, and it is shown this once.

Examples:
  app-key issue --name billing --ip 10.0.0.0/8 --scope cakes:read --expires 90d
  KEY=$(app-key issue --name me --ip 127.0.0.1 --scope \"cakes:write cakes:delete\")";

const LIST_AFTER_HELP: &str = "\
Long texts are cut, and a terminal that is too narrow goes without some columns; `show` and --json give all. No key
can be shown, only its first characters. Services record uses every few seconds.

Examples:
  app-key list
  app-key list --json | jq '.[] | select(.state == \"active\" and .expires_at != null) | .id'
  app-key list --json | jq '.[] | select(.last_used_at == null) | .id'";

const SHOW_AFTER_HELP: &str = "\
Examples:
  app-key show 17
  app-key show - < found-key.txt";

const DISABLE_AFTER_HELP: &str = "\
`app-key enable` undoes it.

Example:
  app-key disable 17";

const ENABLE_AFTER_HELP: &str = "\
Example:
  app-key enable 17";

const REVOKE_AFTER_HELP: &str = "\
Asks first where standard input and standard error are a terminal. For a key on standard input (`-`) the question is
asked on the terminal of the process; without one --yes is required. `app-key disable` can be undone.

Examples:
  app-key revoke 17
  app-key revoke 17 --yes
  app-key revoke - --yes < leaked-key.txt";

/// Issues, lists and revokes the API keys of a database
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
    /// Make the tables, or bring them to the newest version
    #[command(after_help = MIGRATE_AFTER_HELP)]
    Migrate,
    /// The migrations as files, for your own Diesel migrations
    #[command(subcommand)]
    Migrations(Migrations),
    /// Copy an SQLite database to a new file
    #[command(after_help = BACKUP_AFTER_HELP)]
    Backup(Backup),
    /// Issue a key and print it, this once
    #[command(after_help = ISSUE_AFTER_HELP)]
    Issue(Issue),
    /// List every key there is or was, oldest first
    #[command(after_help = LIST_AFTER_HELP)]
    List(List),
    /// Show what is known of a key, and how it was used
    #[command(after_help = SHOW_AFTER_HELP)]
    Show(Show),
    /// Switch a key off until it is enabled again
    #[command(after_help = DISABLE_AFTER_HELP)]
    Disable(KeyId),
    /// Switch a disabled key on again
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
    /// A file that does not exist yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CopyMigrations {
    /// The folder of your Diesel migrations
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Which database they are for
    #[arg(long, value_parser = one_of(&DATABASES))]
    pub(crate) database: DatabaseKind,
}

const DATABASES: [(&str, DatabaseKind); 2] =
    [("postgres", DatabaseKind::Postgres), ("sqlite", DatabaseKind::Sqlite)];

/// Parses the name of a value of the library.
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
    /// What the key is for
    #[arg(long)]
    name: String,
    /// An address or CIDR block the key may be used from, or `any`; repeatable
    #[arg(long, required = true, value_name = "ADDR|CIDR|any", value_parser = allowed_ips)]
    ip: Vec<AllowedIps>,
    /// What the key may be used for; repeatable, or several separated by spaces
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scopes)]
    scopes: Vec<ScopeSet>,
    /// The user of your application that the key belongs to
    #[arg(long)]
    owner: Option<String>,
    /// When the key stops working: after a number and s, m, h, d or w (90d), or at a moment such as
    /// 2030-01-31T00:00:00Z
    #[arg(long, value_name = "90d|RFC3339", value_parser = expiry)]
    expires: Option<Expiry>,
    /// The form of the key; a UUID only for a client that demands one
    #[arg(long, default_value = "native", value_parser = one_of(&FORMATS))]
    format: KeyFormat,
    /// Print one JSON object: the columns of the tables, the state, and the key
    #[arg(long)]
    pub(crate) json: bool,
}

const FORMATS: [(&str, KeyFormat); 2] = [("native", KeyFormat::Native), ("uuid", KeyFormat::Uuid)];

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List the keys of this owner only
    #[arg(long)]
    owner: Option<String>,
    /// List the keys in this state only
    #[arg(long, value_parser = one_of(&STATES))]
    state: Option<KeyState>,
    /// List the keys with a higher number than this only
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// List this many keys at most, the oldest first
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    /// Print a JSON array: the columns of the tables, and the state
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
    /// Print one JSON object: the columns of the tables, and the state
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) key: KeyId,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyId {
    /// The number of the key, as `app-key list` shows it, or `-` to read the key itself from
    /// standard input
    #[arg(value_name = "ID|-", value_parser = named_key)]
    pub(crate) id: NamedKey,
}

/// How a key is named.
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
        _ => Err("write the number of the key, or `-` and give the key itself on standard input"),
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
        return Err("it is empty; for a key without scopes, leave --scope out".to_owned());
    }
    text.parse().map_err(|error: Error| error.to_string())
}

fn join_allowed_ips(lists: &[AllowedIps]) -> Result<AllowedIps, Failure> {
    if lists.len() > 1 && lists.contains(&AllowedIps::any()) {
        return Err(Failure::Usage(
            "--ip any admits every address by itself: leave the other --ip out, or `any`",
        ));
    }
    let texts: Vec<&str> = lists.iter().map(AllowedIps::as_str).collect();
    Ok(texts.join(" ").parse()?)
}

/// When a key expires.
#[derive(Clone, Copy, Debug)]
enum Expiry {
    /// This long after it is issued.
    In(Duration),
    At(DateTime<Utc>),
}

/// Reads a time from now such as `90d`, or a moment of RFC 3339.
fn expiry(text: &str) -> Result<Expiry, &'static str> {
    lifetime(text).map(Expiry::In).or_else(|| moment(text).map(Expiry::At)).ok_or(
        "write a time from now as a number and s, m, h, d or w (90d), or a moment as 2030-01-31T00:00:00Z",
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
    // A leap second (23:59:60) is the second after it: databases know no other.
    DateTime::from_timestamp_micros(moment.timestamp_micros())
}
