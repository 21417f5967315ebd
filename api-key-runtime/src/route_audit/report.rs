//! The report, and the words for what is wrong and what to do about it.

use std::fmt;

use actix_web::http::{Method, StatusCode};

use super::probe::{Open, What};

/// What [`assert_protected`](super::assert_protected) found out about an application's routes.
/// `Display` is the failure it prints.
#[derive(Clone, Debug, Default)]
pub struct ProtectionReport {
    pub(super) protected: Vec<String>,
    pub(super) public: Vec<String>,
    pub(super) unseen: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl ProtectionReport {
    /// Whether nothing is at fault.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.faults.is_empty()
    }

    /// The routes that reject a caller without a key, as `GET /cakes/{id}`.
    #[must_use]
    pub fn protected(&self) -> &[String] {
        &self.protected
    }

    /// The routes that answer one, each with the reason that was given.
    #[must_use]
    pub fn public(&self) -> &[String] {
        &self.public
    }

    /// What was not called, each with the reason that was given, or with what it is: nothing is
    /// known of it.
    #[must_use]
    pub fn unseen(&self) -> &[String] {
        &self.unseen
    }

    /// What is wrong, each with what to do about it.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for ProtectionReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_protected() {
            formatter
                .write_str("every route rejects a caller without a key, or is named as public")?;
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

/// What no route matches, below the path before it.
pub(super) const PATH_OF_DEFAULT: &str = "/<unmatched>";

/// `*` where these are all that were tried.
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
            "lets a caller without a key through: #[require_app_key(optional)]".to_owned(),
            "take `optional` off",
        ),
        What::Open(open) => (open.to_string(), advice(open, path)),
        _ => ("let a caller without a key through".to_owned(), "guard it"),
    };
    format!(
        "{label} {path} {said}\n     {advice}, or say why anyone may call it: Exceptions::public([{}])",
        names.join(", ")
    )
}

fn advice(open: &Open, path: &str) -> &'static str {
    if open.has_status(StatusCode::UNAUTHORIZED) || open.has_status(StatusCode::FORBIDDEN) {
        "that is not this crate's rejection, but the handler's own response, or one that a middleware replaced: guard it with \
         #[require_app_key], and pass the application without that middleware"
    } else if open.has_status(StatusCode::INTERNAL_SERVER_ERROR) {
        "guard it with #[require_app_key] (an AppKey among a handler's arguments checks nothing by itself)"
    } else if path.ends_with(PATH_OF_DEFAULT) {
        "it is the default service there, or a service with a prefix: guard its handler with #[require_app_key]"
    } else {
        "guard it with #[require_app_key]"
    }
}
