//! What was presented, and from where. Knows nothing of SQL or policy.

mod client_ip;
mod credential;
mod key_location;
mod route;

pub(crate) use client_ip::TrustedProxies;
pub(crate) use credential::{Credential, decoded_name_is, extract, percent_decode};
pub use key_location::KeyLocation;
pub(crate) use key_location::KeyLocations;
pub(crate) use route::route_of;
