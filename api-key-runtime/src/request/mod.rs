//! What was presented, and from where. Knows nothing of SQL or policy.

mod address;
mod credential;
mod route;
mod source;

pub(crate) use address::Callers;
pub(crate) use credential::{Presented, decoded_name_is, percent_decode, present};
pub(crate) use route::route_of;
pub use source::Source;
pub(crate) use source::Sources;
