//! What was presented, and from where. Knows nothing of SQL or policy.

mod address;
mod credential;
mod key_location;
mod route;

pub(crate) use address::Callers;
pub(crate) use credential::{Presented, decoded_name_is, percent_decode, present};
pub use key_location::KeyLocation;
pub(crate) use key_location::KeyLocations;
pub(crate) use route::route_of;
