//! The log of changes, which triggers write, and one read of it.

use api_key_runtime::{ChangeCursor, Changes, KeyDigest};
use diesel::prelude::*;

use crate::row;

diesel::table! {
    partner_token_changes (number) {
        number -> BigInt,
        place -> Text,
        fingerprint -> Nullable<Binary>,
    }
}

/// What changed since a place in the log; everything where there is no such place any more.
pub(crate) fn read(
    connection: &mut SqliteConnection,
    since: Option<&ChangeCursor>,
) -> QueryResult<Changes> {
    use self::partner_token_changes::dsl::{fingerprint, number, partner_token_changes, place};

    let last: String =
        partner_token_changes.order(number.desc()).select(place).first(connection)?;
    let cursor = ChangeCursor::new(last);
    let read_up_to: Option<i64> = partner_token_changes
        .filter(place.eq(since.map_or("", ChangeCursor::as_str)))
        .select(number)
        .first(connection)
        .optional()?;
    let Some(read_up_to) = read_up_to else {
        return Ok(Changes::everything(cursor));
    };
    let changed: Vec<Option<Vec<u8>>> =
        partner_token_changes.filter(number.gt(read_up_to)).select(fingerprint).load(connection)?;
    let digests: Option<Vec<KeyDigest>> =
        changed.iter().map(|bytes| row::digest(bytes.as_deref()?)).collect();
    Ok(match digests {
        Some(digests) => Changes::keys(cursor, digests),
        None => Changes::everything(cursor),
    })
}
