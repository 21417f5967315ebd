//! What was presented, and from where. Knows nothing of SQL or policy.

mod address;
mod credential;
mod source;

pub(crate) use address::Callers;
pub(crate) use credential::{Presented, decoded_name_is, percent_decode, present};
pub use source::Source;
pub(crate) use source::Sources;
