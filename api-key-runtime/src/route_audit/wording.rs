//! How a fault is told, and what to do about it.

use actix_web::http::{Method, StatusCode};

use super::probe::{Open, What};

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
        "{label} {path} {said}\n     {advice}, or say why anyone may call it: public([{}])",
        names.join(", ")
    )
}

fn advice(open: &Open, path: &str) -> &'static str {
    if open.has_status(StatusCode::UNAUTHORIZED) || open.has_status(StatusCode::FORBIDDEN) {
        "that is not this crate's refusal, but one of the handler's own, or one that a middleware made anew: guard it with \
         #[require_app_key], and hand over the application without that middleware"
    } else if open.has_status(StatusCode::INTERNAL_SERVER_ERROR) {
        "guard it with #[require_app_key] (an AppKey among a handler's arguments checks nothing by itself)"
    } else if path.ends_with(PATH_OF_DEFAULT) {
        "it is the default service there, or a service with a prefix: guard its handler with #[require_app_key]"
    } else {
        "guard it with #[require_app_key]"
    }
}
