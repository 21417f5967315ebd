//! Checks of the fields of new, changed and imported keys.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};

use crate::{allowed_ips::AllowedIps, clock::to_stored, error::Error};

/// The maximum length of a name, an owner or an actor, in characters. The table limits names and
/// owners to the same length.
const MAX_TEXT_CHARS: usize = 200;
/// The maximum length of an IP allow list, in characters. The table has the same constraint.
const MAX_ALLOWED_IPS_CHARS: usize = 4000;
/// The last year that the table accepts in an expiry.
pub(crate) const LAST_YEAR: i32 = 9999;

/// The expiry of a key, as a time or as a lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry {
    At(DateTime<Utc>),
    /// The key expires this long after it is issued or changed.
    In(Duration),
}

impl Expiry {
    /// Returns the expiry as the table stores it, for a change made at `now`.
    pub(crate) fn from(self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let end = match self {
            Self::At(end) => Some(end),
            Self::In(lifetime) => TimeDelta::from_std(lifetime)
                .ok()
                .and_then(|lifetime| now.checked_add_signed(lifetime)),
        };
        let Some(end) = end.filter(|end| end.year() <= LAST_YEAR) else {
            return Err(Error::invalid_input(format!(
                "the expiry of the key is after the year {LAST_YEAR}, the last year that the table can store: choose an earlier expiry, or none"
            )));
        };
        let stored = to_stored(end);
        if stored <= now {
            return Err(Error::invalid_input(format!(
                "the expiry of the key, {end}, is not in the future: choose a later expiry"
            )));
        }
        Ok(stored)
    }
}

/// Checks a name, an owner or an actor.
pub(crate) fn check_text(what: &str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() || text.chars().count() > MAX_TEXT_CHARS || text.contains('\0') {
        return Err(Error::invalid_input(format!(
            "invalid {what}: write 1 to {MAX_TEXT_CHARS} characters, not only white space and without NUL"
        )));
    }
    Ok(())
}

/// Checks an IP allow list.
pub(crate) fn check_allowed_ips(allowed_ips: &AllowedIps) -> Result<(), Error> {
    if allowed_ips.as_str().is_empty() || !allowed_ips.is_readable() {
        return Err(Error::invalid_input(
            "the IP allow list of the key is empty or unreadable: name IP addresses or CIDR blocks; 0.0.0.0 allows every address",
        ));
    }
    if allowed_ips.as_str().len() > MAX_ALLOWED_IPS_CHARS {
        return Err(Error::invalid_input(format!(
            "the IP allow list is longer than the table holds ({MAX_ALLOWED_IPS_CHARS} characters): use CIDR blocks, or issue several keys"
        )));
    }
    Ok(())
}
