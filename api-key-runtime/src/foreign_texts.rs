//! Messages and names of other libraries that this crate matches as text, because the libraries
//! offer neither a type nor an error code.
//!
//! An update of a dependency may change these texts. So the tests below make the libraries produce
//! them.

/// The text of r2d2's only error. The reason why the pool could not connect may follow this text.
#[cfg(feature = "_diesel")]
pub(crate) const POOL_TIMED_OUT: &str = "timed out waiting for connection";

/// Returns the reason in the message of an r2d2 error, or an empty text if there is no reason.
#[cfg(feature = "_diesel")]
pub(crate) fn reason_of_pool_error(message: &str) -> &str {
    message.trim_start_matches(POOL_TIMED_OUT).trim_start_matches(": ")
}

/// Returns whether SQLite failed because another connection has locked the file. Diesel has no
/// error code for this case.
#[cfg(feature = "sqlite")]
pub(crate) fn is_sqlite_lock(error: &diesel::result::Error) -> bool {
    error.to_string() == "database is locked"
}

/// Returns whether SQLite is not permitted to write to a file, or to create other files in the same
/// folder. Diesel has no error code for this case.
#[cfg(feature = "sqlite")]
pub(crate) fn is_sqlite_read_only(error: &diesel::result::Error) -> bool {
    error.to_string() == "attempt to write a readonly database"
}

/// Returns whether a libpq error may be shown: it is about a server, or about an encryption that
/// libpq lacks. An error about an invalid URL may quote the password.
#[cfg(feature = "postgres")]
pub(crate) fn is_about_a_server(message: &str) -> bool {
    let begins = |beginning: &str| message.starts_with(beginning);
    begins("connection to server ")
        // libpq 13 and older versions begin with this text.
        || begins("could not connect to server")
        || begins("FATAL:")
        || begins("timeout expired")
        || begins("server closed the connection unexpectedly")
        || begins("could not translate host name ") && !message.contains('@')
        || message.trim_end().ends_with("support is not compiled in")
}

/// Returns whether an `App<T>` has no middleware. `T` is then actix-web's private type `AppEntry`;
/// each middleware wraps this type in another type.
#[cfg(feature = "route-audit")]
pub(crate) fn is_app_entry<T>() -> bool {
    std::any::type_name::<T>().ends_with("::AppEntry")
}

/// Returns the media type that an `Acceptable` guard names in its details.
#[cfg(feature = "route-audit")]
pub(crate) fn acceptable_mime(detail: &str) -> Option<&str> {
    detail.strip_prefix("mime=")
}

/// Parses the name of a guard into the actix-web guards that it combines. Returns `None` if the
/// guard contains a guard of the application.
///
/// `Not` reports no details of the guard that it contains, only its name. So a guard within `Not`
/// whose value cannot be parsed from its name also yields `None`.
#[cfg(feature = "route-audit")]
pub(crate) fn builtin_guards(name: &str) -> Option<Vec<BuiltinGuard<'_>>> {
    let mut guards = Vec::new();
    add_guards(&mut guards, name, false).then_some(guards)
}

/// A condition of one of actix-web's own guards.
#[cfg(feature = "route-audit")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltinGuard<'a> {
    Method(&'a str),
    Header(&'a str, &'a str),
    /// A host and a scheme. The guard also accepts requests without a scheme.
    Host(&'a str, &'a str),
}

#[cfg(feature = "route-audit")]
fn add_guards<'a>(guards: &mut Vec<BuiltinGuard<'a>>, name: &'a str, is_negated: bool) -> bool {
    let inner = |prefix| name.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix(')'));
    if let Some(inner) = inner("AllGuard(").or_else(|| inner("AnyGuard(")) {
        return split_guards(inner).into_iter().all(|name| add_guards(guards, name, is_negated));
    }
    if let Some(inner) = inner("Not(") {
        return add_guards(guards, inner, true);
    }
    let is_readable = |value: &str| !is_negated || !value.is_empty() && !value.contains(['(', ')']);
    if let Some((header, value)) = inner("Header(").and_then(|inner| inner.split_once(", ")) {
        guards.push(BuiltinGuard::Header(header, value));
        return is_readable(value);
    }
    if let Some(inner) = inner("Host(") {
        guards.push(match inner.split_once(", scheme=") {
            Some((host, scheme)) => BuiltinGuard::Host(host, scheme),
            None => BuiltinGuard::Header("host", inner),
        });
        return is_readable(inner);
    }
    if let Some(inner) = inner("Acceptable(") {
        let mime = inner.split_once(", ").map_or(inner, |(mime, _)| mime);
        guards.push(BuiltinGuard::Header("accept", mime));
        return is_readable(mime);
    }
    guards.push(BuiltinGuard::Method(name));
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

/// Splits a text at the commas that are outside parentheses.
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
    #[cfg(feature = "sqlite")]
    #[test]
    fn r2d2_reports_a_timeout_with_or_without_a_reason() {
        use std::time::Duration;

        use diesel::{
            SqliteConnection,
            r2d2::{ConnectionManager, Pool},
        };
        let pool = |path: &str| {
            Pool::builder()
                .max_size(1)
                .min_idle(Some(0))
                .connection_timeout(Duration::from_millis(500))
                .build_unchecked(ConnectionManager::<SqliteConnection>::new(path))
        };
        let exhausted = pool(":memory:");
        let held = exhausted.get().unwrap();
        let message = exhausted.get().err().unwrap().to_string();
        assert_eq!(
            (message.as_str(), super::reason_of_pool_error(&message)),
            (super::POOL_TIMED_OUT, "")
        );
        drop(held);
        let message = pool("/nowhere/keys.db").get().err().unwrap().to_string();
        assert!(message.starts_with(super::POOL_TIMED_OUT), "{message}");
        let reason = super::reason_of_pool_error(&message);
        assert!(reason.to_lowercase().starts_with("unable to open"), "{message}");
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn sqlite_reports_locked_and_read_only_files() {
        use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
        let path = std::env::temp_dir().join(format!("app-key-{}-locked.db", std::process::id()));
        let open = || SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        let (mut first, mut second) = (open(), open());
        first.batch_execute("BEGIN EXCLUSIVE").unwrap();
        let error = second.batch_execute("PRAGMA journal_mode = WAL").unwrap_err();
        assert!(super::is_sqlite_lock(&error), "{error}");
        let other = second.batch_execute("SELECT 1 FROM nothing").unwrap_err();
        assert!(!super::is_sqlite_lock(&other), "{other}");
        first.batch_execute("CREATE TABLE cakes (name TEXT); COMMIT").unwrap();
        let mut reader =
            SqliteConnection::establish(&format!("file:{}?mode=ro", path.display())).unwrap();
        let error = reader.batch_execute("INSERT INTO cakes VALUES ('plum')").unwrap_err();
        assert!(super::is_sqlite_read_only(&error), "{error}");
        drop((first, second, reader));
        std::fs::remove_file(path).unwrap();
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn libpq_errors_about_servers_and_about_urls_differ() {
        use diesel::{Connection as _, PgConnection};
        let message = |url: &str| PgConnection::establish(url).err().unwrap().to_string();
        for url in [
            "postgres://127.0.0.1:1/d",
            "host=/nowhere",
            "postgres://host.invalid/d",
            "postgres://127.0.0.1:1/d?sslmode=require",
        ] {
            assert!(super::is_about_a_server(&message(url)), "{url}: {}", message(url));
        }
        for url in [
            "postgres://u:s3%zzcret@h/d",
            "postgres://u:s3cret@[::1/d",
            "host=h password=s3 cret",
            "postgres://u:s3@cret@host.invalid/d",
        ] {
            assert!(!super::is_about_a_server(&message(url)), "{url}: {}", message(url));
        }
    }

    #[cfg(feature = "route-audit")]
    #[test]
    fn an_app_without_middleware_is_recognised_by_its_type() {
        use actix_web::{App, middleware::NormalizePath};
        fn is_app_entry_of<T>(_: &App<T>) -> bool {
            super::is_app_entry::<T>()
        }
        assert!(is_app_entry_of(&App::new()));
        assert!(!is_app_entry_of(&App::new().wrap(NormalizePath::trim())));
    }

    // B15
    #[cfg(feature = "route-audit")]
    #[test]
    fn guards_of_actix_web_are_recognised_by_their_names() {
        use actix_web::guard::{
            Acceptable, All, Any, Get, Guard, GuardDetail, Header, Host, Method, Not, fn_guard,
        };
        use actix_web::http::Method as HttpMethod;
        let mark = HttpMethod::from_bytes(b"M-SEARCH").unwrap();
        let known: Vec<Box<dyn Guard>> = vec![
            Box::new(Get()),
            Box::new(Method(mark)),
            Box::new(Header("x-version", "1")),
            Box::new(Host("api.example.com").scheme("https")),
            Box::new(Acceptable::new("text/html".parse().unwrap())),
            Box::new(All(Get()).and(Any(Header("a", "1")).or(Host("b")))),
            Box::new(Not(All(Get()).and(Header("a", "1")))),
            Box::new(Not(Not(Header("a", "1")))),
        ];
        for guard in &known {
            assert!(super::builtin_guards(&guard.name()).is_some(), "{}", guard.name());
        }
        let opaque: Vec<Box<dyn Guard>> = vec![
            Box::new(fn_guard(|_| true)),
            Box::new(All(Get()).and(fn_guard(|_| true))),
            Box::new(Not(fn_guard(|_| true))),
            Box::new(Not(Header("a", "1) (2"))),
            Box::new(Not(Header("a", ""))),
        ];
        for guard in &opaque {
            assert_eq!(super::builtin_guards(&guard.name()), None, "{}", guard.name());
        }
        let accepted = Acceptable::new("text/html".parse().unwrap()).match_star_star();
        let negated = Not(All(Method(HttpMethod::PATCH))
            .and(Not(Any(Header("a", "1, 2")).or(Host("b.example").scheme("https")).or(accepted))));
        assert_eq!(
            super::builtin_guards(&negated.name()),
            Some(vec![
                super::BuiltinGuard::Method("PATCH"),
                super::BuiltinGuard::Header("a", "1, 2"),
                super::BuiltinGuard::Host("b.example", "https"),
                super::BuiltinGuard::Header("accept", "text/html"),
            ])
        );
        let details = Acceptable::new("text/html".parse().unwrap()).details().unwrap();
        let mime = details.iter().find_map(|detail| match detail {
            GuardDetail::Generic(detail) => super::acceptable_mime(detail),
            _ => None,
        });
        assert_eq!(mime, Some("text/html"));
    }

    // B15
    #[cfg(feature = "route-audit")]
    #[test]
    fn guards_of_an_application_are_opaque() {
        for opaque in [
            "",
            "actix_web::guard::FnGuard<shop::routes::{{closure}}>",
            "shop::Beta",
            "AllGuard(GET, shop::Beta)",
            "AnyGuard(shop::Beta, GET)",
            "Not(shop::Beta)",
        ] {
            assert_eq!(super::builtin_guards(opaque), None, "{opaque}");
        }
    }
}
