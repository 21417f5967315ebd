//! What was presented, and from where. Knows nothing of SQL or policy.

mod credential;
mod source;

use std::net::IpAddr;

use actix_web::HttpRequest;

pub(crate) use credential::{Presented, present};
pub use source::Source;
pub(crate) use source::Sources;

/// The caller's address: the peer of the connection, canonical, and nothing a header says.
pub(crate) fn client_address(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|peer| peer.ip().to_canonical())
}
