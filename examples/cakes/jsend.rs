//! The `JSend` format of all response bodies (<https://github.com/omniti-labs/jsend>), as in the
//! Flask recipe. Bodies with the status `success` or `fail` have data, and bodies with `error` have
//! a message.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    body::MessageBody,
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderValue},
    },
    middleware::{ErrorHandlerResponse, ErrorHandlers},
};
use api_key_runtime::RejectionKind;
use serde::Serialize;
use serde_json::{Map, Value};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A response body: a status with data or a message.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum Body<T> {
    Success {
        data: T,
    },
    /// The request is invalid. The data names the invalid part and the reason.
    Fail {
        data: Map<String, Value>,
    },
    /// The service failed.
    Error {
        message: String,
    },
}

impl<T: Serialize> fmt::Display for Body<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

pub(crate) fn success<T: Serialize>(data: T) -> Body<T> {
    Body::Success { data }
}

fn failure(status: StatusCode, about: &str, why: &str) -> Body<()> {
    if status.is_server_error() {
        return Body::Error { message: why.to_owned() };
    }
    Body::Fail { data: Map::from_iter([(about.to_owned(), why.into())]) }
}

/// Returns the content type and the body of a rejection by `#[require_app_key]`. The status and the
/// other headers do not change.
pub(crate) fn refusal(class: RejectionKind) -> (&'static str, String) {
    let body = failure(class.status(), "key", class.detail());
    ("application/json", body.to_string())
}

/// The error of a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Invalid { field: &'static str, why: &'static str },
    NoSuchCake,
    Busy,
    Database,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Invalid { why, .. } => why,
            Self::NoSuchCake => "there is no such cake",
            Self::Busy => "the database is busy or unavailable; try again",
            Self::Database => "the database failed",
        })
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::NoSuchCake => StatusCode::NOT_FOUND,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let about = match self {
            Self::Invalid { field, .. } => field,
            _ => "cake",
        };
        let status = self.status_code();
        HttpResponse::build(status).json(failure(status, about, &self.to_string()))
    }
}

/// Translates the errors of actix-web, such as an unknown path or a body that is too large, into
/// the `JSend` format.
pub(crate) fn errors<B: MessageBody + 'static>() -> ErrorHandlers<B> {
    ErrorHandlers::new().default_handler(|response| Ok(translate(response)))
}

fn translate<B>(response: ServiceResponse<B>) -> ErrorHandlerResponse<B> {
    if response.headers().get(CONTENT_TYPE) == Some(&JSON) {
        return ErrorHandlerResponse::Response(response.map_into_left_body());
    }
    let status = response.status();
    let detail = match response.response().error() {
        Some(error) if status.is_client_error() => error.to_string(),
        _ => status.canonical_reason().unwrap_or("refused").to_owned(),
    };
    let body = failure(status, "request", &detail).to_string();
    let mut response = response.map_body(|_, _| body).map_into_boxed_body();
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    ErrorHandlerResponse::Response(response.map_into_right_body())
}
