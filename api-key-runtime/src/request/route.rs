//! Which route a request is for, as the log names it.

use actix_web::HttpRequest;

/// The template of the route that a request matched, as the application wrote it.
pub(crate) fn route_of(request: &HttpRequest) -> String {
    request.match_pattern().unwrap_or_else(|| "(default service)".to_owned())
}
