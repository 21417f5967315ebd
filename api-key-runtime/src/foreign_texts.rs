//! Texts of other crates and libraries that are matched because no type or code says the same.
//!
//! An update may change any of them.

/// The text of r2d2's only error. The reason why the pool could not connect may follow.
#[cfg(feature = "_diesel")]
pub(crate) const POOL_TIMEOUT: &str = "timed out waiting for connection";

/// Returns the reason that may follow in r2d2's error.
#[cfg(feature = "_diesel")]
pub(crate) fn reason_of_pool_error(message: &str) -> &str {
    message.trim_start_matches(POOL_TIMEOUT).trim_start_matches(": ")
}

/// Returns whether SQLite failed because another connection has locked the file. Diesel has no code for it.
#[cfg(feature = "sqlite")]
pub(crate) fn is_sqlite_lock(error: &diesel::result::Error) -> bool {
    error.to_string() == "database is locked"
}

/// Returns whether an error of libpq is about a server. An error about an unreadable URL quotes parts of the URL, and these may belong
/// to the password.
#[cfg(feature = "postgres")]
pub(crate) fn is_about_a_server(message: &str) -> bool {
    let begins = |beginning: &str| message.starts_with(beginning);
    begins("connection to server ")
        // libpq 13 and older.
        || begins("could not connect to server")
        || begins("FATAL:")
        || begins("could not translate host name ") && !message.contains('@')
        || message.trim_end().ends_with("support is not compiled in")
}

/// Returns whether `T` is the type in `App<T>` that `App::new` returns. That type is private; each middleware wraps it in another one.
#[cfg(feature = "route-audit")]
pub(crate) fn is_app_entry<T>() -> bool {
    std::any::type_name::<T>().ends_with("::AppEntry")
}

/// Returns the media type that an `Acceptable` guard names in its details.
#[cfg(feature = "route-audit")]
pub(crate) fn acceptable_mime(detail: &str) -> Option<&str> {
    detail.strip_prefix("mime=")
}

/// Returns whether a guard consists of actix-web's own guards alone, by its name. Negated guards need no headers, so any of actix-web's
/// own may stand in `Not`; a `Not` within a `Not` does not report what it asks for.
#[cfg(feature = "route-audit")]
pub(crate) fn is_builtin_guard(name: &str, may_be_not: bool) -> bool {
    let inner = |prefix| name.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix(')'));
    if let Some(inner) = inner("AllGuard(").or_else(|| inner("AnyGuard(")) {
        return split_guards(inner).into_iter().all(|name| is_builtin_guard(name, may_be_not));
    }
    if let Some(inner) = inner("Not(") {
        return may_be_not && is_builtin_guard(inner, false);
    }
    ["Header(", "Host(", "Acceptable("].into_iter().any(|prefix| inner(prefix).is_some())
        || !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

/// Splits at the commas outside parentheses.
#[cfg(feature = "route-audit")]
fn split_guards(names: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    names
        .split(|character| {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        })
        .map(str::trim)
        .collect()
}

#[cfg(test)]
mod tests {
    // B15
    #[cfg(feature = "route-audit")]
    #[test]
    fn only_guards_made_of_known_ones_are_known() {
        use super::is_builtin_guard;
        for known in [
            "GET",
            "Header(x-version, 1)",
            "Host(api.example.com, scheme=https)",
            "Acceptable(text/html)",
            "AllGuard(GET, AnyGuard(Header(a, 1), Host(b)))",
            "Not(AllGuard(GET, Header(a, 1)))",
        ] {
            assert!(is_builtin_guard(known, true), "{known}");
        }
        for opaque in [
            "",
            "actix_web::guard::FnGuard<shop::routes::{{closure}}>",
            "shop::Beta",
            "AllGuard(GET, shop::Beta)",
            "AnyGuard(shop::Beta, GET)",
            "Not(shop::Beta)",
            "Not(Not(Header(a, 1)))",
        ] {
            assert!(!is_builtin_guard(opaque, true), "{opaque}");
        }
    }
}
