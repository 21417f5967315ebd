//! Extracts the credential and the client IP of a request. This module is independent of SQL and
//! policy.

mod client_ip;
mod credential;
mod ignored;
mod key_location;

use actix_web::HttpRequest;

pub(crate) use client_ip::{TrustedProxies, UnknownIp};
#[cfg(feature = "_diesel")]
pub(crate) use credential::is_key;
pub(crate) use credential::{Credential, decoded_name_is, extract, percent_decode};
pub(crate) use ignored::ignored;
pub use key_location::KeyLocation;
pub(crate) use key_location::KeyLocations;

/// Returns the template of the route that a request matched, as the application wrote it, or
/// `(default service)` if no route matched.
pub(crate) fn route_of(request: &HttpRequest) -> String {
    request.match_pattern().unwrap_or_else(|| "(default service)".to_owned())
}
