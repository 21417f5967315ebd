//! A cached key in a compact form: the record's fields that requests need, and the usage that is
//! not written yet.

use std::ops::Range;

use chrono::{DateTime, Utc};

use super::ReadStamp;
use crate::{
    allowed_ips::Rules,
    key_record::{KeyRecord, KeyState},
    scope::ScopeSet,
    usage::{Counted, SOON, UsageCell},
};

/// The result of a lookup, shared by all requests with this key.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each field is independent of the others")]
pub(crate) struct CachedKey {
    pub(crate) id: i64,
    text: PackedText,
    pub(crate) allowed_ips: Rules,
    pub(crate) scopes: ScopeSet,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// Whether the key's lifetime exceeds [`SOON`]. Only such a key causes a warning when it is
    /// used shortly before its expiry.
    warns_before_expiry: bool,
    has_owner: bool,
    disabled: bool,
    revoked: bool,
    /// The read that this key comes from. The time of the read and the lease decide how long the
    /// cache may use the key.
    pub(super) read: ReadStamp,
    /// The usage that is not written yet.
    usage: UsageCell,
}

impl Counted for CachedKey {
    fn id(&self) -> i64 {
        self.id
    }

    fn hint(&self) -> &str {
        self.text.hint()
    }

    fn warns_before(&self) -> Option<DateTime<Utc>> {
        self.expires_at.filter(|_| self.warns_before_expiry)
    }

    fn usage(&self) -> &UsageCell {
        &self.usage
    }
}

impl CachedKey {
    pub(crate) fn new(record: KeyRecord) -> Self {
        let owner = record.owner.as_deref();
        Self {
            id: record.id,
            text: PackedText::new(&record.hint, &record.name, owner.unwrap_or_default()),
            has_owner: owner.is_some(),
            allowed_ips: record.allowed_ips.into_rules(),
            scopes: record.scopes,
            expires_at: record.expires_at,
            warns_before_expiry: record
                .expires_at
                .is_some_and(|end| end.signed_duration_since(record.created_at) > SOON),
            // A key whose `disabled_at` is in the future also counts as disabled, which is the
            // stricter interpretation.
            disabled: record.disabled_at.is_some(),
            revoked: record.revoked_at.is_some(),
            read: ReadStamp::default(),
            usage: UsageCell::default(),
        }
    }

    /// Sets the read that this key comes from.
    pub(super) fn with_read(mut self, read: ReadStamp) -> Self {
        self.read = read;
        self
    }

    pub(crate) fn hint(&self) -> &str {
        self.text.hint()
    }

    pub(crate) fn name(&self) -> &str {
        self.text.name()
    }

    pub(crate) fn owner(&self) -> Option<&str> {
        self.has_owner.then(|| self.text.owner())
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// Marks the key as revoked. A key stays revoked once this process has seen its revocation.
    pub(crate) fn revoked(mut self) -> Self {
        self.revoked = true;
        self
    }

    /// Returns the state of the key. Calls `now` only if the key has an expiry.
    #[inline]
    pub(crate) fn state(&self, now: impl FnOnce() -> DateTime<Utc>) -> KeyState {
        if self.revoked {
            KeyState::Revoked
        } else if self.disabled {
            KeyState::Disabled
        } else if self.expires_at.is_some_and(|end| now() >= end) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

/// Hint, name and owner in one allocation. The overhead of three allocations is often larger than
/// the texts themselves.
#[derive(Debug)]
struct PackedText {
    text: Box<str>,
    hint_ends: u32,
    name_ends: u32,
}

impl PackedText {
    fn new(hint: &str, name: &str, owner: &str) -> Self {
        // In this crate's tables, hint, name and owner have at most 200 characters each. Texts over
        // 4 GiB from a custom store may be read as empty. No decision depends on these texts.
        let end = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            text: [hint, name, owner].concat().into(),
            hint_ends: end(hint.len()),
            name_ends: end(hint.len().saturating_add(name.len())),
        }
    }

    fn hint(&self) -> &str {
        self.part(0..self.hint_ends)
    }

    fn name(&self) -> &str {
        self.part(self.hint_ends..self.name_ends)
    }

    fn owner(&self) -> &str {
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.part(self.name_ends..end)
    }

    fn part(&self, Range { start, end }: Range<u32>) -> &str {
        let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.text.get(index(start)..index(end)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{allowed_ips::AllowedIps, key::KeyDigest};

    #[test]
    fn packed_text_keeps_its_parts_and_a_missing_owner() {
        for (hint, name, owner) in [
            ("ak_live_Ab3d", "billing", Some("customer 1")),
            ("", "K\u{fc}che", None),
            ("ak_live_Ab3d", "", Some("")),
        ] {
            let mut record = KeyRecord::new(1, KeyDigest::from_bytes([1; 32]), AllowedIps::any());
            record.hint = hint.to_owned();
            record.name = name.to_owned();
            record.owner = owner.map(str::to_owned);
            let key = CachedKey::new(record);
            assert_eq!((key.hint(), key.name(), key.owner()), (hint, name, owner));
        }
    }
}
