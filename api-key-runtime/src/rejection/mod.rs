//! Rejections: the reason, the kind that the response reveals, the response, and the log line.

mod kind;
mod log;
mod reason;
mod response;

pub use self::{kind::RejectionKind, reason::Reason};
pub(crate) use self::{
    log::RejectionLog,
    response::{
        AcceptedHeaders, Bodies, Mark, Responses, at_handler, marked, misconfigured, set_expiry,
    },
};
