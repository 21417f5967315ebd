//! Explains how a service decides about a key: the decision of [`authorize`], rule by rule.

use std::{fmt, net::IpAddr};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{
    authorize::authorize,
    cache::CachedKey,
    client_ip::ClientIp,
    error::Error,
    key_record::KeyRecord,
    policy::{RequiredScopes, split},
    rejection::Reason as RejectionReason,
    scope::ScopeSet,
};

/// The request for which [`Admin::explain`](crate::admin::Admin::explain) checks a key: a client
/// IP, and the scopes that the route requires.
#[derive(Clone, Debug)]
pub struct AccessRequest {
    client_ip: Option<IpAddr>,
    scopes: Option<ScopeSet>,
    any_scope: Option<ScopeSet>,
}

impl AccessRequest {
    /// Returns a request from this client IP to a route that requires any valid key. `None` is an
    /// unknown client IP.
    #[must_use]
    pub fn new(client_ip: impl Into<Option<IpAddr>>) -> Self {
        Self { client_ip: client_ip.into(), scopes: None, any_scope: None }
    }

    /// Sets the argument `scopes` of the route's attribute: the key needs all of these scopes.
    ///
    /// # Errors
    /// Returns an error if the text is empty, or contains a scope that no key can have.
    pub fn scopes(self, scopes: impl AsRef<str>) -> Result<Self, Error> {
        Ok(Self { scopes: Some(required(scopes.as_ref())?), ..self })
    }

    /// Sets the argument `any_scope` of the route's attribute: the key needs at least one of these
    /// scopes.
    ///
    /// # Errors
    /// Returns an error in the cases of [`scopes`](Self::scopes).
    pub fn any_scope(self, scopes: impl AsRef<str>) -> Result<Self, Error> {
        Ok(Self { any_scope: Some(required(scopes.as_ref())?), ..self })
    }

    fn required(&self) -> RequiredScopes<'_> {
        RequiredScopes {
            all: self.scopes.as_ref().map(ScopeSet::as_str),
            any: self.any_scope.as_ref().map(ScopeSet::as_str),
        }
    }
}

fn required(scopes: &str) -> Result<ScopeSet, Error> {
    if scopes.is_empty() {
        return Err(Error::invalid_input(
            "the list of required scopes is empty: name at least one scope, or leave out the list",
        ));
    }
    scopes.parse()
}

/// The decision of a service about a key, with the result of each rule.
///
/// Every request is checked by the same rules in the same order. The first rule that fails
/// determines the reason for the rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The reason why the service rejects the key, as shown in its log. `None` means that the
    /// service accepts the key.
    pub rejection: Option<RejectionReason>,
    /// The record of the key. `None` if a service finds no record.
    pub record: Option<KeyRecord>,
    /// The results of the rules, in order. Rules that need a record are left out if there is no
    /// record.
    pub rules: Vec<RuleResult>,
}

/// The result of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleResult {
    /// The rule.
    pub rule: Rule,
    /// The reason for the rejection if the rule failed, or `None` if the rule passed.
    pub rejection: Option<RejectionReason>,
    /// The value that determined the result, as text: for example the entry of the IP allow list,
    /// or the missing scopes. The text may be empty, and never contains the key.
    pub detail: String,
}

/// A rule that a key must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The given text can be a key. This rule is left out if only the id of the key is given.
    Format,
    /// The table contains the key under a pepper of the service.
    Found,
    /// The key is not revoked.
    NotRevoked,
    /// The key is not disabled.
    NotDisabled,
    /// The key has not expired.
    NotExpired,
    /// The key allows the client IP.
    ClientIp,
    /// The key has the required scopes.
    Scopes,
}

impl Rule {
    /// Returns the rule in words, such as `not revoked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Found => "found",
            Self::NotRevoked => "not revoked",
            Self::NotDisabled => "not disabled",
            Self::NotExpired => "not expired",
            Self::ClientIp => "client IP allowed",
            Self::Scopes => "scopes",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl RuleResult {
    pub(crate) fn passed(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, rejection: None, detail: detail.into() }
    }

    pub(crate) fn failed(rule: Rule, reason: RejectionReason, detail: impl Into<String>) -> Self {
        Self { rule, rejection: Some(reason), detail: detail.into() }
    }
}

impl Explanation {
    /// Returns the explanation for a key without a record. One of `rules` has failed.
    pub(crate) fn without_record(rules: Vec<RuleResult>) -> Self {
        let rejection = rules.iter().find_map(|result| result.rejection);
        Self { rejection, record: None, rules }
    }

    /// Returns the explanation for a key with this record. `checked` contains the results of the
    /// previous rules.
    pub(crate) fn of_record(
        checked: Vec<RuleResult>,
        record: KeyRecord,
        request: &AccessRequest,
        now: DateTime<Utc>,
    ) -> Self {
        let key = CachedKey::new(record.clone());
        let verdict = authorize(&key, &request.required(), request.client_ip.into(), || now);
        let mut rules = checked;
        rules.extend([
            not_revoked(&record),
            not_disabled(&record),
            not_expired(&record, now),
            client_ip_allowed(&record, request.client_ip),
            has_scopes(&record, &request.required()),
        ]);
        Self { rejection: verdict.err(), record: Some(record), rules }
    }
}

fn not_revoked(record: &KeyRecord) -> RuleResult {
    match record.revoked_at {
        None => RuleResult::passed(Rule::NotRevoked, ""),
        Some(at) => RuleResult::failed(
            Rule::NotRevoked,
            RejectionReason::Revoked,
            format!("revoked since {}", time(at)),
        ),
    }
}

fn not_disabled(record: &KeyRecord) -> RuleResult {
    match record.disabled_at {
        None => RuleResult::passed(Rule::NotDisabled, ""),
        Some(at) => RuleResult::failed(
            Rule::NotDisabled,
            RejectionReason::Disabled,
            format!("disabled since {}", time(at)),
        ),
    }
}

fn not_expired(record: &KeyRecord, now: DateTime<Utc>) -> RuleResult {
    match record.expires_at {
        None => RuleResult::passed(Rule::NotExpired, "never expires"),
        Some(end) if now < end => {
            RuleResult::passed(Rule::NotExpired, format!("expires at {}", time(end)))
        }
        Some(end) => RuleResult::failed(
            Rule::NotExpired,
            RejectionReason::Expired,
            format!("expired at {}", time(end)),
        ),
    }
}

fn client_ip_allowed(record: &KeyRecord, client_ip: Option<IpAddr>) -> RuleResult {
    let allowed = &record.allowed_ips;
    let client_ip = ClientIp::from(client_ip).known();
    let shown = client_ip.map_or_else(|| "an unknown client IP".to_owned(), |ip| ip.to_string());
    if let Some(entry) = allowed.entry_that_allows(client_ip) {
        return RuleResult::passed(Rule::ClientIp, format!("{shown} is allowed by {entry}"));
    }
    let failed = |reason, detail| RuleResult::failed(Rule::ClientIp, reason, detail);
    if !allowed.is_readable() {
        let detail = format!("the allow list {:?} allows no address", allowed.as_str());
        return failed(RejectionReason::UnreadableAllowedIps, detail);
    }
    let detail = match (client_ip, allowed.as_str()) {
        (_, "") => "the allow list is empty".to_owned(),
        (None, list) => format!("{shown} is allowed only by 0.0.0.0, not by {list}"),
        (Some(_), list) => format!("{shown} is not in {list}"),
    };
    failed(RejectionReason::AddressNotAllowed, detail)
}

fn has_scopes(record: &KeyRecord, required: &RequiredScopes<'_>) -> RuleResult {
    let own = &record.scopes;
    let has = |scope: &&str| own.contains(scope);
    if required.are_met_by(own) {
        let used: Vec<&str> = required.named().filter(has).collect();
        let none = required.all.is_none() && required.any.is_none();
        let detail =
            if none { "none required".to_owned() } else { format!("has {}", used.join(" ")) };
        return RuleResult::passed(Rule::Scopes, detail);
    }
    let missing: Vec<&str> =
        required.all.into_iter().flat_map(split).filter(|scope| !has(scope)).collect();
    let mut details = Vec::new();
    if !missing.is_empty() {
        details.push(format!("lacks {}", missing.join(" ")));
    }
    if let Some(any) = required.any
        && !split(any).any(|scope| own.contains(scope))
    {
        details.push(format!("has none of {any}"));
    }
    RuleResult::failed(Rule::Scopes, RejectionReason::MissingScope, details.join(", "))
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{allowed_ips::AllowedIps, key::KeyDigest};

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
    }

    fn explain(record: &KeyRecord, request: &AccessRequest) -> Explanation {
        Explanation::of_record(Vec::new(), record.clone(), request, now())
    }

    /// Returns one record for each combination of the IP allow lists, scopes and times below.
    fn records() -> Vec<KeyRecord> {
        let mut records = Vec::new();
        let times =
            [None, Some(now() - TimeDelta::days(1)), Some(now()), Some(now() + TimeDelta::days(1))];
        for ips in ["0.0.0.0", "", "10.0.0.0/8 2001:db8::1", "0.0.0.0/0", "010.0.0.1", "::/0"] {
            for scopes in ["", "a", "b", "a b", "a b c"] {
                for at in 0..times.len().pow(3) {
                    let mut record = KeyRecord::new(
                        17,
                        KeyDigest::from_bytes([1; 32]),
                        AllowedIps::from_stored(ips),
                    );
                    record.scopes = ScopeSet::from_stored(scopes);
                    record.expires_at = times[at % 4];
                    record.disabled_at = times[at / 4 % 4];
                    record.revoked_at = times[at / 16];
                    records.push(record);
                }
            }
        }
        records
    }

    fn requests() -> Vec<AccessRequest> {
        let mut requests = Vec::new();
        for ip in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "203.0.113.9", "::", ""] {
            for all in ["", "a", "a b"] {
                for any in ["", "c", "b c"] {
                    let mut request = AccessRequest::new(ip.parse::<IpAddr>().ok());
                    if !all.is_empty() {
                        request = request.scopes(all).unwrap();
                    }
                    if !any.is_empty() {
                        request = request.any_scope(any).unwrap();
                    }
                    requests.push(request);
                }
            }
        }
        requests
    }

    // I4
    #[test]
    fn the_first_failed_rule_is_the_verdict_of_authorize() {
        let mut rejected = 0;
        for record in records() {
            for request in requests() {
                let explained = explain(&record, &request);
                let key = CachedKey::new(record.clone());
                let verdict = authorize(&key, &request.required(), request.client_ip.into(), now);
                assert_eq!(explained.rejection, verdict.err(), "{record:?} {request:?}");
                let first = explained.rules.iter().find_map(|result| result.rejection);
                assert_eq!(first, explained.rejection, "{record:?} {request:?}");
                assert_eq!(explained.rules.len(), 5);
                rejected += usize::from(explained.rejection.is_some());
            }
        }
        assert!(rejected > 10_000, "{rejected}");
    }

    // I4
    #[test]
    fn each_rule_names_the_value_that_decided() {
        let mut record = KeyRecord::new(
            17,
            KeyDigest::from_bytes([1; 32]),
            AllowedIps::from_stored("10.0.0.0/8 2001:db8::1"),
        );
        record.scopes = ScopeSet::from_stored("a b");
        let detail = |record: &KeyRecord, request: &AccessRequest, rule| {
            let rules = explain(record, request).rules;
            rules.into_iter().find(|result| result.rule == rule).unwrap().detail
        };
        let from = |ip: &str| AccessRequest::new(ip.parse::<IpAddr>().ok());
        for (ip, expected) in [
            ("10.1.2.3", "10.1.2.3 is allowed by 10.0.0.0/8"),
            ("2001:db8::1", "2001:db8::1 is allowed by 2001:db8::1"),
            ("203.0.113.9", "203.0.113.9 is not in 10.0.0.0/8 2001:db8::1"),
            ("", "an unknown client IP is allowed only by 0.0.0.0, not by 10.0.0.0/8 2001:db8::1"),
        ] {
            assert_eq!(detail(&record, &from(ip), Rule::ClientIp), expected);
        }
        let scopes = |all: &str, any: &str| {
            let request = from("10.1.2.3").scopes(all).unwrap().any_scope(any).unwrap();
            detail(&record, &request, Rule::Scopes)
        };
        assert_eq!(scopes("a", "c b"), "has a b");
        assert_eq!(scopes("a c d", "b"), "lacks c d");
        assert_eq!(scopes("c", "d e"), "lacks c, has none of d e");
        assert_eq!(detail(&record, &from(""), Rule::Scopes), "none required");
        record.allowed_ips = AllowedIps::any();
        assert_eq!(detail(&record, &from("::1"), Rule::ClientIp), "::1 is allowed by any");
        record.allowed_ips = AllowedIps::from_stored("010.0.0.1");
        let unreadable = "the allow list \"010.0.0.1\" allows no address";
        assert_eq!(detail(&record, &from("::1"), Rule::ClientIp), unreadable);
    }

    #[test]
    fn required_scopes_must_name_a_scope() {
        let request = || AccessRequest::new(None);
        for bad in ["", " ", "a,b", "*"] {
            assert!(request().scopes(bad).unwrap_err().is_invalid_input());
            assert!(request().any_scope(bad).unwrap_err().is_invalid_input());
        }
    }
}
