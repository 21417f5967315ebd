//! `app-key update`.

use api_key_runtime::{
    ScopeSet,
    admin::{Admin, AllowedIps, KeyChanges, KeyRecord},
};
use clap::Args;

use super::DryRun;
use crate::{
    failure::Failure,
    json,
    named_key::{KeyId, record_of},
    text::{self, named, say, visible},
    values::{Expiry, allowed_ips, expiry, join_allowed_ips, replacing_scopes, scopes},
};

pub(crate) const UPDATE_AFTER_HELP: &str = "\
Fields for which no option is given do not change. --ip and --scope replace the whole list.

Examples:
  app-key update 17 --add-ip 192.0.2.0/24 --remove-ip 198.51.100.7
  app-key update 17 --scope cakes:read --expires 90d
  app-key update 17 --ip any --no-scopes --dry-run";

#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    key: KeyId,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// New owner
    #[arg(long)]
    owner: Option<String>,
    /// Remove the owner
    #[arg(long, conflicts_with = "owner")]
    no_owner: bool,
    /// Replace the IP allow list: IP address or CIDR block, or `any`; repeatable
    #[arg(long, value_name = "ADDR|CIDR|any", value_parser = allowed_ips)]
    ip: Vec<AllowedIps>,
    /// Add an IP address or CIDR block; repeatable
    #[arg(long, value_name = "ADDR|CIDR", value_parser = allowed_ips)]
    add_ip: Vec<AllowedIps>,
    /// Remove an IP address or CIDR block; repeatable
    #[arg(long, value_name = "ADDR|CIDR", value_parser = allowed_ips)]
    remove_ip: Vec<AllowedIps>,
    /// Replace the scopes; repeatable, or several separated by spaces
    #[arg(long = "scope", value_name = "SCOPE", value_parser = replacing_scopes)]
    scopes: Vec<ScopeSet>,
    /// Add a scope; repeatable
    #[arg(long, value_name = "SCOPE", value_parser = scopes)]
    add_scope: Vec<ScopeSet>,
    /// Remove a scope; repeatable
    #[arg(long, value_name = "SCOPE", value_parser = scopes)]
    remove_scope: Vec<ScopeSet>,
    /// Remove all scopes
    #[arg(long, conflicts_with_all = ["scopes", "add_scope", "remove_scope"])]
    no_scopes: bool,
    /// New expiry: a duration from now (90d), a time (2030-01-31T00:00:00Z), or `never`
    #[arg(long, value_name = "90d|RFC3339|never", value_parser = expiry)]
    expires: Option<Expiry>,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// Print a JSON object with the key before and after
    #[arg(long)]
    json: bool,
}

impl Update {
    fn changes(&self) -> Result<KeyChanges, Failure> {
        let mut changes = KeyChanges::new();
        if let Some(name) = &self.name {
            changes = changes.name(name);
        }
        if let Some(owner) = &self.owner {
            changes = changes.owner(owner);
        }
        if self.no_owner {
            changes = changes.no_owner();
        }
        if !self.ip.is_empty() {
            changes = changes.allowed_ips(join_allowed_ips(&self.ip)?)?;
        }
        for ips in &self.add_ip {
            changes = changes.add_allowed_ips(ips)?;
        }
        for ips in &self.remove_ip {
            changes = changes.remove_allowed_ips(ips)?;
        }
        if self.no_scopes {
            changes = changes.scopes("")?;
        }
        if !self.scopes.is_empty() {
            changes = changes.scopes(self.scopes.iter().cloned().collect::<ScopeSet>())?;
        }
        for scopes in &self.add_scope {
            changes = changes.add_scopes(scopes)?;
        }
        for scopes in &self.remove_scope {
            changes = changes.remove_scopes(scopes)?;
        }
        Ok(match self.expires {
            None => changes,
            Some(Expiry::Never) => changes.never_expires(),
            Some(Expiry::In(lifetime)) => changes.expires_in(lifetime),
            Some(Expiry::At(end)) => changes.expires_at(end),
        })
    }
}

pub(crate) fn update(admin: &Admin, asked: &Update) -> Result<(), Failure> {
    let key = record_of(admin, asked.key.id)?;
    let updated = admin.update(key.id, &asked.changes()?)?;
    if asked.json {
        json::print_updated(&updated, admin.now())?;
    }
    let differences = differences(&updated.before, &updated.after);
    if differences.is_empty() {
        say(format_args!("Nothing to do: {} already has these values.", named(&updated.after)));
        return Ok(());
    }
    say(format_args!(
        "{} {}:",
        asked.dry_run.verb("Changed", "Would change"),
        named(&updated.after)
    ));
    for (field, before, after) in differences {
        say(format_args!("  {field}: {before} -> {after}"));
    }
    Ok(())
}

/// Returns the name of each field that differs, with the text before and after.
fn differences(before: &KeyRecord, after: &KeyRecord) -> Vec<(&'static str, String, String)> {
    type Shown = fn(&KeyRecord) -> String;
    let fields: [(&str, Shown); 5] = [
        ("name", |key| visible(&key.name)),
        ("owner", text::owner),
        ("allowed IPs", |key| text::allowed_ips(&key.allowed_ips)),
        ("scopes", |key| text::scopes(&key.scopes)),
        ("expires", text::expires),
    ];
    fields
        .into_iter()
        .map(|(field, shown)| (field, shown(before), shown(after)))
        .filter(|(_, before, after)| before != after)
        .collect()
}
