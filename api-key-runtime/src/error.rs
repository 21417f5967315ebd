//! The error type for setting up, migrating and administering keys.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};

use crate::{log, problem};

/// An error from setting up, migrating or administering keys.
///
/// The message is for the operator: what failed, why, and what to do. It never contains a key, a
/// pepper or a password. It includes the cause, so [`source`](std::error::Error::source) returns
/// `None`. The `is_*` methods distinguish the kinds of errors.
///
/// A handler that administers keys may return this error with `?`. The response is 400 for invalid
/// input, 404 for an unknown key, 409 for a conflict, and 500 for all other errors. Errors with the
/// status 500 are logged. The body is generic and never contains the message.
///
#[cfg_attr(feature = "_diesel", doc = "```")]
#[cfg_attr(not(feature = "_diesel"), doc = "```ignore")]
/// use actix_web::{HttpResponse, delete, web};
/// use api_key_runtime::{Error, admin::Admin, require_app_key};
///
/// #[delete("/keys/{id}")]
/// #[require_app_key(scopes = "keys:revoke")]
/// async fn revoke(
///     id: web::Path<i64>,
///     admin: web::Data<Admin>,
/// ) -> actix_web::Result<HttpResponse> {
///     web::block(move || admin.revoke(*id)).await??;
///     Ok(HttpResponse::NoContent().finish())
/// }
/// ```
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Config,
    InvalidInput,
    Database,
    Schema,
    NotFound,
    Conflict,
    Entropy,
    Os,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Returns the error for an invalid setting of the application or its environment.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Returns the error for an invalid argument, such as the name of a new key.
    pub(crate) fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    pub(crate) fn entropy(source: getrandom::Error) -> Self {
        Self {
            source: Some(Box::new(source)),
            ..Self::new(
                Kind::Entropy,
                "cannot make a key: the operating system returned no entropy",
            )
        }
    }

    pub(crate) fn os(message: impl Into<String>, source: std::io::Error) -> Self {
        Self { source: Some(Box::new(source)), ..Self::new(Kind::Os, message) }
    }

    pub(crate) fn database(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into()), ..Self::new(Kind::Database, message) }
    }

    #[cfg(feature = "_diesel")]
    pub(crate) fn schema(message: impl Into<String>) -> Self {
        Self::new(Kind::Schema, message)
    }

    #[cfg(feature = "_diesel")]
    pub(crate) fn not_found(id: i64) -> Self {
        Self::new(Kind::NotFound, format!("key {id} does not exist; `app-key list` shows all keys"))
    }

    pub(crate) fn revoked(id: i64) -> Self {
        Self::new(
            Kind::Conflict,
            format!("key {id} is revoked, which is final: issue a new key instead"),
        )
    }

    #[cfg(feature = "_diesel")]
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Returns whether a setting is missing or invalid, such as a prefix, a pepper, a key location
    /// or a database URL.
    #[must_use]
    pub fn is_config(&self) -> bool {
        self.kind == Kind::Config
    }

    /// Returns whether an argument is invalid, such as the IP allow list, a scope, the name or the
    /// expiry of a key.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        self.kind == Kind::InvalidInput
    }

    /// Returns whether the database or the application's own store was unavailable or failed.
    #[must_use]
    pub fn is_database(&self) -> bool {
        self.kind == Kind::Database
    }

    /// Returns whether the tables are missing or incompatible, or lack their triggers.
    #[must_use]
    pub fn is_schema(&self) -> bool {
        self.kind == Kind::Schema
    }

    /// Returns whether no key has the given id.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// Returns whether the call conflicts with what already exists. Examples are enabling a revoked
    /// key, and a backup to a file that exists.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.kind == Kind::Conflict
    }

    /// Returns whether the operating system returned no entropy for a new key.
    #[must_use]
    pub fn is_entropy(&self) -> bool {
        self.kind == Kind::Entropy
    }

    /// Returns whether the operating system could not start a thread, or read or write a file.
    #[must_use]
    pub fn is_os(&self) -> bool {
        self.kind == Kind::Os
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(formatter, ": {source}"),
            None => Ok(()),
        }
    }
}

/// Shows the message, because `main` and `unwrap` print errors with `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Error {}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self.kind {
            Kind::InvalidInput => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Config | Kind::Database | Kind::Schema | Kind::Entropy | Kind::Os => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let detail = match self.kind {
            Kind::InvalidInput => "A value in the request is not valid.",
            Kind::NotFound => "No key has this id.",
            Kind::Conflict => "The request conflicts with the current state.",
            Kind::Config | Kind::Database | Kind::Schema | Kind::Entropy | Kind::Os => {
                log::error!("cannot administer API keys: {self}; the request is answered 500");
                "The service cannot administer API keys."
            }
        };
        problem::response(status, detail)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{body::to_bytes, rt::System};

    use super::*;

    #[test]
    fn a_response_has_the_status_of_its_kind_and_no_message() {
        let os = || std::io::Error::other("secret");
        let failed = "The service cannot administer API keys.";
        // A conflict may concern a revoked key, but also the file of a backup.
        let conflict = "The request conflicts with the current state.";
        let mut cases = vec![
            (Error::invalid_input("secret"), 400, "A value in the request is not valid."),
            (Error::revoked(4711), 409, conflict),
            (Error::config("secret"), 500, failed),
            (Error::os("secret", os()), 500, failed),
        ];
        #[cfg(feature = "_diesel")]
        cases.extend([
            (Error::not_found(4711), 404, "No key has this id."),
            (Error::conflict("secret"), 409, conflict),
            (Error::database("secret", os()), 500, failed),
            (Error::schema("secret"), 500, failed),
        ]);
        for (error, status, detail) in cases {
            let response = error.error_response();
            assert_eq!(response.status(), status, "{error}");
            assert_eq!(error.status_code(), status, "{error}");
            let body = System::new().block_on(to_bytes(response.into_body())).unwrap();
            let body = std::str::from_utf8(&body).unwrap();
            assert!(body.contains(&format!("\"status\":{status}")), "{body}");
            assert!(body.contains(&format!("\"{detail}\"")), "{body}");
            assert!(!body.contains("secret") && !body.contains("4711"), "{body}");
        }
    }
}
