//! Parsers for option values.

use std::time::Duration;

use api_key_runtime::{Error, ScopeSet, admin::AllowedIps};
use chrono::{DateTime, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::failure::Failure;

/// Returns a parser that accepts one of these names and returns its value.
pub(crate) fn one_of<T: Copy + Send + Sync + 'static>(
    named: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(named.iter().map(|(name, _)| *name)).try_map(move |given| {
        let found = named.iter().find(|(name, _)| *name == given);
        found.map(|(_, value)| *value).ok_or("not a possible value")
    })
}

pub(crate) fn allowed_ips(text: &str) -> Result<AllowedIps, Error> {
    if text == "any" {
        return Ok(AllowedIps::any());
    }
    text.parse()
}

pub(crate) fn scopes(text: &str) -> Result<ScopeSet, String> {
    non_empty_scopes(text, "write a scope, or omit the option")
}

/// Parses the scopes that replace all scopes of a key.
pub(crate) fn replacing_scopes(text: &str) -> Result<ScopeSet, String> {
    non_empty_scopes(text, "to remove all scopes, use --no-scopes")
}

fn non_empty_scopes(text: &str, advice: &str) -> Result<ScopeSet, String> {
    if text.is_empty() {
        return Err(format!("it is empty; {advice}"));
    }
    text.parse().map_err(|error: Error| error.to_string())
}

pub(crate) fn join_allowed_ips(lists: &[AllowedIps]) -> Result<AllowedIps, Failure> {
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
pub(crate) enum Expiry {
    /// The key expires this time after it is issued or changed.
    In(Duration),
    At(DateTime<Utc>),
    Never,
}

/// Parses `never`, a duration such as `90d`, or a time in RFC 3339.
pub(crate) fn expiry(text: &str) -> Result<Expiry, &'static str> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    lifetime(text).map(Expiry::In).or_else(|| moment(text).map(Expiry::At)).ok_or(
        "write a duration as a number followed by s, m, h, d or w, such as 90d; or a time such as 2030-01-31T00:00:00Z; or never",
    )
}

/// Parses a duration such as `90d`.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    lifetime(text).ok_or("write a duration as a number followed by s, m, h, d or w, such as 90d")
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

pub(crate) fn moment(text: &str) -> Option<DateTime<Utc>> {
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    // A leap second (23:59:60) becomes the next second: databases do not support leap seconds.
    DateTime::from_timestamp_micros(moment.timestamp_micros())
}
