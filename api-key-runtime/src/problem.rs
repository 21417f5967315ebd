//! Problem details (RFC 9457): response bodies that contain no part of the request.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
};

pub(crate) const CONTENT_TYPE_OF_PROBLEMS: HeaderValue =
    HeaderValue::from_static("application/problem+json");

pub(crate) fn body(status: StatusCode, detail: &str) -> String {
    let title = status.canonical_reason().unwrap_or_default();
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{detail}"}}"#,
        status.as_u16()
    )
}

/// Returns a response with this status and detail. The settings of `AppKeys` do not affect the
/// response.
pub(crate) fn response(status: StatusCode, detail: &str) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, CONTENT_TYPE_OF_PROBLEMS))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .insert_header((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .body(body(status, detail))
}
