//! A change feed that reads the change log. Triggers write the log.

use std::{thread, time::Duration};

use api_key_runtime::store::{ChangeFeed, Changed, Changes, KeyDigest, StoreError};
use diesel::prelude::*;

use crate::{PartnerTokens, row};

diesel::table! {
    partner_token_changes (number) {
        number -> BigInt,
        place -> Text,
        fingerprint -> Nullable<Binary>,
    }
}

/// The interval between reads of the log. SQLite has no notifications, so the feed polls.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A reader of the log with its own position.
pub(crate) struct Feed {
    tokens: PartnerTokens,
    /// The position of the last entry that was read. `None` before the first read.
    position: Option<String>,
}

impl Feed {
    pub(crate) fn new(tokens: PartnerTokens) -> Self {
        Self { tokens, position: None }
    }
}

impl ChangeFeed for Feed {
    fn changes(&mut self) -> Result<Changes, StoreError> {
        // All reads run in one transaction, so that they see the same state of the database.
        let (last, changed) = self
            .tokens
            .connection()?
            .transaction(|connection| read(connection, self.position.as_deref()))
            .map_err(StoreError::new)?;
        self.position = Some(last);
        Ok(Changes::new(changed))
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        thread::sleep(POLL_INTERVAL.min(at_most));
        Ok(())
    }
}

/// Reads the position of the last entry, and the changes since an earlier position. If the earlier
/// position is not in the log, returns `Changed::Everything`.
fn read(connection: &mut SqliteConnection, since: Option<&str>) -> QueryResult<(String, Changed)> {
    use self::partner_token_changes::dsl::{fingerprint, number, partner_token_changes, place};

    let last = partner_token_changes.order(number.desc()).select(place).first(connection)?;
    let read_up_to: Option<i64> = partner_token_changes
        .filter(place.nullable().eq(since))
        .select(number)
        .first(connection)
        .optional()?;
    let Some(read_up_to) = read_up_to else {
        return Ok((last, Changed::Everything));
    };
    let changed: Vec<Option<Vec<u8>>> =
        partner_token_changes.filter(number.gt(read_up_to)).select(fingerprint).load(connection)?;
    // An entry without a fingerprint stands for all keys.
    let digests: Option<Vec<KeyDigest>> =
        changed.iter().map(|bytes| row::digest(bytes.as_deref()?)).collect();
    Ok((last, digests.map_or(Changed::Everything, Changed::Keys)))
}
