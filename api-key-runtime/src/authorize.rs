//! The decision whether a found key is accepted: a pure function of the key, the required scopes,
//! the client IP and the time.

use chrono::{DateTime, Utc};

use crate::{
    cache::CachedKey, client_ip::ClientIp, key_record::KeyState, policy::RequiredScopes,
    rejection::Reason,
};

/// Decides whether the key of a request is accepted. The client gets the same response for every
/// rejection, except for a missing scope.
///
/// The clock is read only if the key has an expiry.
#[inline]
pub(crate) fn authorize(
    key: &CachedKey,
    required: &RequiredScopes<'_>,
    client_ip: ClientIp,
    now: impl FnOnce() -> DateTime<Utc>,
) -> Result<(), Reason> {
    match key.state(now) {
        KeyState::Active => {}
        KeyState::Expired => return Err(Reason::Expired),
        KeyState::Disabled => return Err(Reason::Disabled),
        KeyState::Revoked => return Err(Reason::Revoked),
    }
    if !key.allowed_ips.allows(client_ip) {
        let readable = key.allowed_ips.are_readable();
        return Err(if readable {
            Reason::AddressNotAllowed
        } else {
            Reason::UnreadableAllowedIps
        });
    }
    if !required.are_met_by(&key.scopes) {
        return Err(Reason::MissingScope);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use chrono::TimeDelta;

    use super::{authorize as authorize_key, *};
    use crate::{
        allowed_ips::AllowedIps, key::KeyDigest, key_record::KeyRecord, policy::Policy,
        scope::ScopeSet,
    };

    fn authorize(
        record: &KeyRecord,
        policy: &Policy,
        address: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<(), Reason> {
        authorize_key(&CachedKey::new(record.clone()), policy.required(), address.into(), || now)
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
    }

    fn record() -> KeyRecord {
        KeyRecord::new(1, KeyDigest::from_bytes([1; 32]), AllowedIps::from_stored("203.0.113.7"))
    }

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7)));

    // E5
    #[test]
    fn a_key_expires_exactly_at_its_expiry() {
        let mut record = record();
        assert_eq!(
            authorize(&record, &Policy::new(), HERE, DateTime::<Utc>::MAX_UTC),
            Ok(()),
            "a null expiry means that the key does not expire"
        );
        record.expires_at = Some(now());
        for (offset, expected) in
            [(-1, Ok(())), (0, Err(Reason::Expired)), (1, Err(Reason::Expired))]
        {
            assert_eq!(
                authorize(&record, &Policy::new(), HERE, now() + TimeDelta::microseconds(offset)),
                expected,
                "{offset} us"
            );
        }
    }

    #[test]
    fn the_first_fault_in_order_is_the_reason() {
        let later = Some(now() + TimeDelta::days(1));
        let mut record = record();
        let policy = const { Policy::new().scopes("cakes:write") };
        let elsewhere = Some("203.0.113.8".parse().unwrap());
        assert_eq!(authorize(&record, &policy, elsewhere, now()), Err(Reason::AddressNotAllowed));
        assert_eq!(authorize(&record, &policy, None, now()), Err(Reason::AddressNotAllowed));
        assert_eq!(authorize(&record, &policy, HERE, now()), Err(Reason::MissingScope));
        record.scopes = ScopeSet::from_stored("cakes:write");
        assert_eq!(authorize(&record, &policy, HERE, now()), Ok(()));
        record.allowed_ips = AllowedIps::from_stored("203.0.113.07");
        assert_eq!(authorize(&record, &policy, HERE, now()), Err(Reason::UnreadableAllowedIps));
        record.expires_at = Some(now());
        assert_eq!(authorize(&record, &policy, HERE, now()), Err(Reason::Expired));
        // A `disabled_at` in the future also disables the key, because this is the stricter
        // interpretation.
        record.disabled_at = later;
        assert_eq!(authorize(&record, &policy, HERE, now()), Err(Reason::Disabled));
        record.revoked_at = later;
        assert_eq!(authorize(&record, &policy, HERE, now()), Err(Reason::Revoked));
    }

    // D1, D2
    #[test]
    fn scopes_are_checked_last_and_optional_skips_no_check() {
        let elsewhere = Some("203.0.113.8".parse().unwrap());
        for policy in [
            Policy::new(),
            Policy::new().scopes("a"),
            Policy::new().any_scope("a b"),
            Policy::new().scopes("a").any_scope("b c"),
        ] {
            for scopes in ["", "a", "b", "a b", "c"] {
                let mut record = record();
                record.scopes = ScopeSet::from_stored(scopes);
                let met = policy.required().are_met_by(&record.scopes);
                for policy in [policy, policy.optional()] {
                    let verdict = if met { Ok(()) } else { Err(Reason::MissingScope) };
                    assert_eq!(authorize(&record, &policy, HERE, now()), verdict);
                    let wrong = authorize(&record, &policy, elsewhere, now());
                    assert_eq!(wrong, Err(Reason::AddressNotAllowed));
                    let mut record = record.clone();
                    record.revoked_at = Some(now());
                    let revoked = authorize(&record, &policy, HERE, now());
                    assert_eq!(revoked, Err(Reason::Revoked));
                }
            }
        }
    }
}
