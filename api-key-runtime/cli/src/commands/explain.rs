//! `app-key explain`.

use std::{
    io::{self, BufWriter, Write},
    net::IpAddr,
};

use api_key_runtime::{
    ScopeSet,
    admin::{AccessRequest, Admin, Explanation},
};
use clap::Args;

use crate::{
    failure::{Failure, answer},
    json,
    named_key::{NamedKey, named_key, read_key},
    style,
    text::{named, visible},
    values::scopes,
};

pub(crate) const EXPLAIN_AFTER_HELP: &str = "\
Reports whether a service with the same settings accepts the key, and the reason as in the service's log. Nothing is \
recorded. The exit code is 0 if the key is accepted, and 3 if it is rejected. With an id, the format of the key is not \
checked, because the table does not contain the key.

Examples:
  app-key explain 17 --ip 203.0.113.7 --scope cakes:write
  app-key explain --ip 203.0.113.7 < key.txt
  app-key explain 17 --ip 10.1.2.3 --json | jq -r '.rules[] | select(.passed | not) | .detail'";

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Id of the key, as `app-key list` shows it, or `-` to read the key itself from standard input
    #[arg(value_name = "ID|-", default_value = "-", value_parser = named_key)]
    id: NamedKey,
    /// Client IP of the request
    #[arg(long, value_name = "ADDR")]
    ip: IpAddr,
    /// Scope that the route requires (`scopes` of the attribute); repeatable
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scopes)]
    scopes: Vec<ScopeSet>,
    /// Scope that is sufficient for the route (`any_scope` of the attribute); repeatable
    #[arg(long, value_name = "SCOPE", value_parser = scopes)]
    any_scope: Vec<ScopeSet>,
    /// Print a JSON object with the result, the rules and the record of the key
    #[arg(long)]
    json: bool,
}

impl Explain {
    fn request(&self) -> Result<AccessRequest, Failure> {
        let join = |sets: &[ScopeSet]| sets.iter().cloned().collect::<ScopeSet>();
        let mut request = AccessRequest::new(self.ip);
        if !self.scopes.is_empty() {
            request = request.scopes(join(&self.scopes))?;
        }
        if !self.any_scope.is_empty() {
            request = request.any_scope(join(&self.any_scope))?;
        }
        Ok(request)
    }
}

pub(crate) fn explain(admin: &Admin, asked: &Explain) -> Result<(), Failure> {
    let request = asked.request()?;
    let explained = match asked.id {
        NamedKey::Id(id) => admin.explain(id, &request)?,
        NamedKey::Input => admin.explain_secret(&read_key()?, &request)?,
    };
    let mut out = BufWriter::new(anstream::stdout().lock());
    let written = if asked.json {
        json::write_explanation(&mut out, &explained, admin.now())
    } else {
        write(&mut out, &explained)
    };
    let written = written.and_then(|()| out.flush()).map_err(Failure::Output);
    answer(written, explained.rejection.is_some())
}

/// Writes whether the key is accepted, and then one line for each rule.
fn write(out: &mut impl Write, explained: &Explanation) -> io::Result<()> {
    let key = explained.record.as_ref().map(|record| format!(": {}", named(record)));
    let key = key.unwrap_or_default();
    match explained.rejection {
        None => writeln!(out, "{}{key}", style::good("accepted"))?,
        Some(reason) => {
            let status = reason.kind().status().as_u16();
            writeln!(out, "{}{key}: {reason} (status {status})", style::bad("rejected"))?;
        }
    }
    for result in &explained.rules {
        let (word, reason) = match result.rejection {
            None => (style::good("passed"), ""),
            // The detail repeats the reason, as in `revoked since 2027-01-31T00:00:00Z`.
            Some(reason) if result.detail.starts_with(reason.as_str()) => {
                (style::bad("failed"), "")
            }
            Some(reason) => (style::bad("failed"), reason.as_str()),
        };
        let details = [reason, &visible(&result.detail)];
        let details: Vec<&str> = details.into_iter().filter(|text| !text.is_empty()).collect();
        let line = format!("  {word}  {:<17}  {}", result.rule, details.join(": "));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
