//! What a store says of its changes, so that a cached key is dropped as soon as it was changed.

use std::fmt;

use crate::KeyDigest;

/// Up to where a store has told its changes: a text that only the store itself reads.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeCursor(Box<str>);

impl ChangeCursor {
    /// A cursor of a store's own making.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// The text it was made with.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChangeCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ChangeCursor(..)")
    }
}

/// What changed in a store between two of its cursors.
#[derive(Debug)]
#[must_use = "a change that nobody applies leaves a revoked key working"]
pub struct Changes {
    pub(crate) cursor: ChangeCursor,
    pub(crate) changed: Changed,
}

#[derive(Debug)]
pub(crate) enum Changed {
    Everything,
    Keys(Vec<KeyDigest>),
}

impl Changes {
    /// The keys with these digests may have changed, and no others; of none, nothing has.
    pub fn keys(cursor: ChangeCursor, digests: impl IntoIterator<Item = KeyDigest>) -> Self {
        Self { cursor, changed: Changed::Keys(digests.into_iter().collect()) }
    }

    /// Any key may have changed: always the answer to who has no cursor yet, and to one that the store can no longer read.
    pub fn everything(cursor: ChangeCursor) -> Self {
        Self { cursor, changed: Changed::Everything }
    }

    /// Up to where they were told: what to ask with next.
    #[must_use]
    pub fn cursor(&self) -> &ChangeCursor {
        &self.cursor
    }

    /// The keys that may have changed; `None` where any may have.
    #[must_use]
    pub fn digests(&self) -> Option<&[KeyDigest]> {
        match &self.changed {
            Changed::Everything => None,
            Changed::Keys(digests) => Some(digests),
        }
    }
}
