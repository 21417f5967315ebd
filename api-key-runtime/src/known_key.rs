//! A key as requests are judged by it: what they need of its record, in as little memory as that takes, and what is noted of it.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};

use crate::{AddressRules, KeyRecord, KeyState, ScopeSet, usage::UsageCell};

/// What a look-up found, shared by every request that presents the key.
#[derive(Debug)]
pub(crate) struct KnownKey {
    pub(crate) id: i64,
    pub(crate) hint: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) allowed_ips: AddressRules,
    pub(crate) scopes: ScopeSet,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    disabled: bool,
    revoked: bool,
    /// Whether it was refused as expired: then a wall clock that steps back does not bring it back.
    ended: AtomicBool,
    /// The uses that were not written yet.
    pub(crate) usage: UsageCell,
}

impl KnownKey {
    pub(crate) fn new(record: KeyRecord) -> Self {
        Self {
            id: record.id,
            hint: record.hint.into(),
            name: record.name.into(),
            owner: record.owner.map(Into::into),
            allowed_ips: record.allowed_ips,
            scopes: record.scopes,
            expires_at: record.expires_at,
            // A time in the future counts as well: of two readings the one that lets fewer in.
            disabled: record.disabled_at.is_some(),
            revoked: record.revoked_at.is_some(),
            ended: AtomicBool::new(false),
            usage: UsageCell::default(),
        }
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// The same key, revoked: what this process once saw so stays so.
    pub(crate) fn revoked(mut self) -> Self {
        self.revoked = true;
        self
    }

    /// Marks that it was refused as expired; whether it is the first time.
    pub(crate) fn end(&self) -> bool {
        !self.ended.swap(true, Ordering::Relaxed)
    }

    /// The state at a moment, which is asked for only where the key has an end.
    #[inline]
    pub(crate) fn state(&self, now: impl FnOnce() -> DateTime<Utc>) -> KeyState {
        if self.revoked {
            KeyState::Revoked
        } else if self.disabled {
            KeyState::Disabled
        } else if self
            .expires_at
            .is_some_and(|end| self.ended.load(Ordering::Relaxed) || now() >= end)
        {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}
