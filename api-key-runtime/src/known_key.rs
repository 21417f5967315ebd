//! A key as this process knows it: its record, and what is noted of it between two reads of the store.

use crate::{KeyRecord, usage::UsageCell};

/// What a look-up found, shared by every request that presents the key.
#[derive(Debug)]
pub(crate) struct KnownKey {
    pub(crate) record: KeyRecord,
    /// The uses that were not written yet.
    pub(crate) usage: UsageCell,
}

impl KnownKey {
    pub(crate) fn new(record: KeyRecord) -> Self {
        Self {
            record,
            usage: UsageCell::default(),
        }
    }
}
