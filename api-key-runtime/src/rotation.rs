//! Rotation: the settings of the new key, and the changed record of the old key.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};

use crate::{
    clock::to_stored,
    error::Error,
    key_fields::LAST_YEAR,
    key_record::{KeyRecord, KeyState},
    new_key::{IssuedKey, NewKey},
};

/// The result of a rotation: the new key, and the record of the old key.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// The new key, with its record.
    pub issued: IssuedKey,
    /// The record of the old key. With an overlap, its `expires_at` is the end of the overlap.
    /// Without an overlap, the old key is revoked.
    pub old: KeyRecord,
}

/// Returns the settings of the new key, and the record of the old key after the rotation.
///
/// The new key has the name, IP allow list, scopes and owner of the old key. If the old key has an
/// expiry, the new key gets the same lifetime, counted from now. The old key expires when the
/// overlap ends, or at its previous expiry if that is earlier. Without an overlap, the old key is
/// revoked.
pub(crate) fn rotate(
    old: &KeyRecord,
    overlap: Duration,
    now: DateTime<Utc>,
) -> Result<(NewKey, KeyRecord), Error> {
    require_rotatable(old, now)?;
    let mut new = NewKey::new(&old.name).allow(&old.allowed_ips)?.scopes(&old.scopes)?;
    if let Some(owner) = &old.owner {
        new = new.owner(owner);
    }
    if let Some(end) = old.expires_at {
        new = new.expires_at(same_lifetime(old.created_at, end, now));
    }
    let mut after = old.clone();
    let end = to_stored(now + checked_overlap(overlap)?);
    if end > now {
        after.expires_at = Some(old.expires_at.map_or(end, |own| own.min(end)));
    } else {
        after.revoked_at = Some(now);
    }
    Ok((new, after))
}

/// Returns the end of a lifetime that begins now and is as long as the old lifetime. Returns the
/// old end if the new end is not in the future, or if the table cannot store it.
fn same_lifetime(began: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let new_end = now.checked_add_signed(end - began);
    new_end.filter(|new_end| new_end.year() <= LAST_YEAR && *new_end > now).unwrap_or(end)
}

fn checked_overlap(overlap: Duration) -> Result<TimeDelta, Error> {
    TimeDelta::from_std(overlap).ok().filter(|_| overlap <= MAX_OVERLAP).ok_or_else(|| {
        Error::invalid_input(format!(
            "the overlap of the rotation is longer than {} days: choose a shorter overlap",
            MAX_OVERLAP.as_secs() / 86_400
        ))
    })
}

/// The maximum overlap. A longer overlap is probably a mistake in the unit of time.
const MAX_OVERLAP: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Returns an error if the key does not work any more, or if another key has already replaced it.
fn require_rotatable(old: &KeyRecord, now: DateTime<Utc>) -> Result<(), Error> {
    let id = old.id;
    if old.revoked_at.is_none()
        && let Some(new) = old.replaced_by
    {
        return Err(Error::conflict(format!(
            "key {id} was already rotated: key {new} replaces it. To end the overlap now, run \
             `app-key revoke {id}`; to change its end, run `app-key update {id} --expires`; to \
             rotate again, rotate key {new}, or issue a new key if key {new} no longer works"
        )));
    }
    match old.state(now) {
        KeyState::Active => Ok(()),
        KeyState::Revoked => Err(Error::revoked(id)),
        KeyState::Disabled => Err(Error::conflict(format!(
            "key {id} is disabled, and its replacement would work at once: enable it first with \
             `app-key enable {id}`, or issue a new key"
        ))),
        KeyState::Expired => Err(Error::conflict(format!(
            "key {id} has expired, so a rotation has no overlap: issue a new key instead"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{allowed_ips::AllowedIps, key::KeyDigest};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
    }

    fn key() -> KeyRecord {
        let mut key = KeyRecord::new(17, KeyDigest::from_bytes([1; 32]), AllowedIps::any());
        key.name = "billing".to_owned();
        key.created_at = now() - TimeDelta::days(30);
        key
    }

    /// I2
    #[test]
    fn the_overlap_never_exceeds_the_expiry_of_the_old_key() {
        let end_of = |own: Option<TimeDelta>, overlap| {
            let mut old = key();
            old.expires_at = own.map(|own| now() + own);
            rotate(&old, overlap, now()).unwrap().1.expires_at.unwrap() - now()
        };
        assert_eq!(end_of(None, DAY), TimeDelta::days(1));
        assert_eq!(end_of(Some(TimeDelta::days(7)), DAY), TimeDelta::days(1));
        assert_eq!(end_of(Some(TimeDelta::hours(1)), DAY), TimeDelta::hours(1));
    }

    /// I2
    #[test]
    fn a_rotation_without_overlap_revokes_the_old_key() {
        // The tables store microseconds, so a shorter overlap counts as no overlap.
        for overlap in [Duration::ZERO, Duration::from_nanos(999)] {
            let (_, old) = rotate(&key(), overlap, now()).unwrap();
            assert_eq!((old.revoked_at, old.expires_at), (Some(now()), None));
        }
        let (_, old) = rotate(&key(), Duration::from_nanos(1999), now()).unwrap();
        assert_eq!(old.expires_at.unwrap() - now(), TimeDelta::microseconds(1));
    }

    /// I2
    #[test]
    fn the_new_key_has_the_lifetime_of_the_old_one_if_the_table_can_store_it() {
        let month = TimeDelta::days(30);
        let last = "9999-12-31T00:00:00Z".parse::<DateTime<Utc>>().unwrap() - now();
        for (left, expected) in
            [(TimeDelta::days(60), TimeDelta::days(90)), (last - month, last), (last, last)]
        {
            let old = key();
            let end = same_lifetime(old.created_at, now() + left, now());
            assert_eq!(end - now(), expected);
        }
    }

    /// I2
    #[test]
    fn keys_that_do_not_work_and_rotated_keys_are_not_rotated() {
        let refused = |change: fn(&mut KeyRecord)| {
            let mut old = key();
            change(&mut old);
            let error = rotate(&old, DAY, now()).unwrap_err();
            assert!(error.is_conflict(), "{error}");
            error.to_string()
        };
        assert!(refused(|key| key.revoked_at = Some(now())).contains("is revoked"));
        assert!(refused(|key| key.disabled_at = Some(now())).contains("is disabled"));
        assert!(refused(|key| key.expires_at = Some(now())).contains("has expired"));
        assert!(refused(|key| key.replaced_by = Some(18)).contains("key 18 replaces it"));
        assert!(rotate(&key(), MAX_OVERLAP, now()).is_ok());
        for overlap in [MAX_OVERLAP + Duration::from_nanos(1), Duration::MAX] {
            let error = rotate(&key(), overlap, now()).unwrap_err();
            assert!(error.is_invalid_input(), "{error}");
        }
    }
}
