//! The report, with a message and advice for each violation.

use std::fmt;

use actix_web::http::{Method, StatusCode};

use super::probe::{Open, What};

/// The result of [`assert_protected`](super::assert_protected). `Display` writes the panic message.
#[derive(Clone, Debug, Default)]
pub struct ProtectionReport {
    pub(super) protected: Vec<String>,
    pub(super) public: Vec<String>,
    pub(super) unseen: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl ProtectionReport {
    /// Returns whether there are no violations.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.faults.is_empty()
    }

    /// Returns the routes that reject a caller without a key, such as `GET /cakes/{id}`.
    #[must_use]
    pub fn protected(&self) -> &[String] {
        &self.protected
    }

    /// Returns the routes that are listed as public and answer a caller without a key, each with
    /// the given reason.
    #[must_use]
    pub fn public(&self) -> &[String] {
        &self.public
    }

    /// Returns the routes and responses that the audit could not check, each with the given reason
    /// or a description.
    #[must_use]
    pub fn unseen(&self) -> &[String] {
        &self.unseen
    }

    /// Returns the violations, each with advice on how to fix it.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for ProtectionReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_protected() {
            formatter
                .write_str("every route rejects a caller without a key or is listed as public")?;
        } else {
            formatter.write_str(
                "routes that do not reject a caller without a key, or that could not be checked:",
            )?;
        }
        for (number, fault) in self.faults.iter().enumerate() {
            write!(formatter, "\n\n{:>3}. {fault}", number + 1)?;
        }
        for (title, lines) in
            [("protected", &self.protected), ("public", &self.public), ("unseen", &self.unseen)]
        {
            write!(formatter, "\n\n{title}: {}", lines.len())?;
            for line in lines {
                write!(formatter, "\n     {line}")?;
            }
        }
        Ok(())
    }
}

/// The suffix of a path that stands for all requests below the path that match no route.
pub(super) const PATH_OF_DEFAULT: &str = "/<unmatched>";

/// Returns the names of the methods, or `*` for all methods that were tried.
pub(super) fn label(methods: &[&Method], tried: usize) -> String {
    if methods.len() >= tried {
        return "*".to_owned();
    }
    let names: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    names.join(", ")
}

pub(super) fn open_fault(path: &str, what: &What, methods: &[&Method], tried: usize) -> String {
    let label = label(methods, tried);
    let names: Vec<String> = if label == "*" {
        vec![format!("(\"* {path}\", \"..\")")]
    } else {
        methods.iter().map(|method| format!("(\"{method} {path}\", \"..\")")).collect()
    };
    let (said, advice) = match what {
        What::Optional => (
            "accepts a caller without a key: #[require_app_key(optional)]".to_owned(),
            "remove `optional`",
        ),
        What::Open(open) => (open.to_string(), advice(open, path)),
        _ => ("accepted a caller without a key".to_owned(), "guard it"),
    };
    format!(
        "{label} {path} {said}\n     {advice}, or give the reason why it is public: Exceptions::public([{}])",
        names.join(", ")
    )
}

fn advice(open: &Open, path: &str) -> &'static str {
    if open.has_status(StatusCode::UNAUTHORIZED) || open.has_status(StatusCode::FORBIDDEN) {
        "this is the handler's own response, or a middleware replaced the rejection: guard it with \
         #[require_app_key], and audit the application without that middleware"
    } else if open.has_status(StatusCode::INTERNAL_SERVER_ERROR) {
        "guard it with #[require_app_key] (an AppKey argument of a handler checks nothing by itself)"
    } else if path.ends_with(PATH_OF_DEFAULT) {
        "this is a default service or a service with a prefix: guard its handler with #[require_app_key]"
    } else {
        "guard it with #[require_app_key]"
    }
}
