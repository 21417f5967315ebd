//! The log line of a refusal: one warning, everything in the message, nothing the caller sent.

use std::{fmt, net::IpAddr};

use actix_web::{HttpRequest, http::Method};

use crate::{KeyRecord, verdict::Reason};

/// Logs a refusal in the words of the recipe, with its reason, the key it is about and the route's template.
pub(crate) fn refused(
    reason: Reason,
    request: &HttpRequest,
    address: Option<IpAddr>,
    record: Option<&KeyRecord>,
) {
    let line = Line {
        reason,
        method: request.method(),
        route: request.match_pattern(),
        address,
        record,
    };
    log::warn!("{line}");
}

struct Line<'a> {
    reason: Reason,
    method: &'a Method,
    route: Option<String>,
    address: Option<IpAddr>,
    record: Option<&'a KeyRecord>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Unauthorized address trying to use API: ")?;
        match self.address {
            Some(address) => write!(formatter, "{address}")?,
            None => formatter.write_str("unknown")?,
        }
        write!(formatter, " ({}", self.reason.as_str())?;
        if let Some(record) = self.record {
            write!(
                formatter,
                ", key {} {}",
                record.id,
                record.hint.escape_default()
            )?;
        }
        // A method's own characters are those of a token; a route's are the application's.
        write!(
            formatter,
            ", {} {})",
            self.method,
            self.route.as_deref().unwrap_or("(default service)")
        )
    }
}
