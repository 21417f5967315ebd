//! Other spellings of the path of a guarded handler. A guard that compares paths before routing may
//! miss such a spelling. A guard that runs after routing does not.

use super::{Case, case, target::Target, wire::Request};

/// Allowed statuses without a key: from the guard, or because the path does not exist.
const REFUSED: [u16; 5] = [400, 401, 404, 405, 501];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = TARGETS
        .into_iter()
        .map(|(name, path)| {
            case(format!("{name}: {path}"), "B11", move |target| {
                never_without_a_key(target, "GET", path)
            })
        })
        .collect();
    cases.extend([
        case("an encoded path leads to the handler, with a key", "B11", |target| {
            let mut caller = target.caller(target.doors.plain);
            for path in [
                "/%67uarded",
                "/%67%75%61%72%64%65%64",
                "/guarde%64",
                "http://localhost/guarded",
                "/guarded?/public",
                "/files/../public",
            ] {
                caller.passes(&Request::get(path).bearer(&target.keys.active))?;
            }
            Ok(())
        }),
        case("headers that name another path change nothing", "B11", |target| {
            let mut caller = target.caller(target.doors.plain);
            for header in [
                "X-Original-URL",
                "X-Rewrite-URL",
                "X-Forwarded-Uri",
                "X-Forwarded-Path",
                "X-Forwarded-Prefix",
            ] {
                for path in ["/guarded", "/%67uarded"] {
                    caller.nothing_presented(
                        &Request::get(path).line(format!("{header}: /public")),
                    )?;
                }
                let (answer, counts) =
                    caller.ask(&Request::get("/public").line(format!("{header}: /guarded")))?;
                if (answer.status, counts.ran) != (200, 0) {
                    return Err(format!("{header}: {} and {counts:?}", answer.status));
                }
            }
            Ok(())
        }),
        case("a host in the target or none changes nothing", "B11", |target| {
            for request in [
                "GET http://public.example/guarded HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET http://user:password@localhost/guarded HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET https://localhost:443/guarded HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET /guarded HTTP/1.1\r\nHost: \r\n\r\n",
                "GET /guarded HTTP/1.0\r\n\r\n",
                "GET /guarded HTTP/1.1\r\n\r\n",
                "GET /guarded\r\n\r\n",
                "GET /guarded HTTP/0.9\r\n\r\n",
                "GET /guarded HTTP/2.0\r\nHost: localhost\r\n\r\n",
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ] {
                target.never_runs(target.doors.plain, request.as_bytes())?;
            }
            Ok(())
        }),
        case("a path of every byte", "B9 B11", |target| {
            let mut caller = target.caller(target.doors.plain);
            for byte in 0..=u8::MAX {
                caller.refused_somehow(&Request::get(format!("/guarded%{byte:02x}")), &REFUSED)?;
                caller.refused_somehow(&Request::get(format!("/%{byte:02x}guarded")), &REFUSED)?;
                caller.refused_somehow(&Request::get(format!("/files/%{byte:02x}")), &REFUSED)?;
            }
            Ok(())
        }),
        case("an encoded path is rejected for every method", "B11 B12", |target| {
            for method in ["HEAD", "POST", "OPTIONS", "TRACE", "QUERY"] {
                for path in
                    ["/%67uarded", "/guarded/", "//guarded", "/./guarded", "/files/..%2fpublic"]
                {
                    never_without_a_key(target, method, path)?;
                }
            }
            Ok(())
        }),
    ]);
    cases
}

const TARGETS: [(&str, &str); 47] = [
    ("plain", "/guarded"),
    ("a query", "/guarded?"),
    ("a query of a path", "/guarded?/public"),
    ("a fragment", "/guarded#/public"),
    ("encoded letter", "/%67uarded"),
    ("encoded letter in capitals", "/%67%75%61%72%64%65%64"),
    ("encoded last letter", "/guarde%64"),
    ("encoded twice", "/%2567uarded"),
    ("encoded slash first", "/%2fguarded"),
    ("encoded slash alone first", "%2fguarded"),
    ("encoded slash last", "/guarded%2f"),
    ("encoded slash in capitals", "/guarded%2F"),
    ("encoded backslash", "/guarded%5c"),
    ("backslash", "/\\guarded"),
    ("doubled slash", "//guarded"),
    ("tripled slash", "///guarded"),
    ("doubled slash last", "/guarded//"),
    ("trailing slash", "/guarded/"),
    ("trailing dot", "/guarded."),
    ("trailing space", "/guarded%20"),
    ("trailing NUL", "/guarded%00"),
    ("trailing line break", "/guarded%0a"),
    ("trailing extension", "/guarded.json"),
    ("path parameter", "/guarded;a=b"),
    ("path parameter before", "/;a=b/guarded"),
    ("one dot", "/./guarded"),
    ("one dot last", "/guarded/."),
    ("two dots", "/public/../guarded"),
    ("two dots encoded", "/public/%2e%2e/guarded"),
    ("two dots half encoded", "/public/.%2e/guarded"),
    ("two dots with an encoded slash", "/public/..%2fguarded"),
    ("two dots with a backslash", "/public/..\\guarded"),
    ("two dots above the root", "/../guarded"),
    ("two dots last", "/guarded/x/.."),
    ("two dots out of a guarded folder", "/files/../public"),
    ("encoded folder", "/%66iles/public"),
    ("encoded slash below a folder", "/files%2fpublic"),
    ("upper case", "/GUARDED"),
    ("mixed case", "/Guarded"),
    ("look-alike letters", "/%ef%bd%87uarded"),
    ("overlong letter", "/%c1%a7uarded"),
    ("absolute form", "http://localhost/guarded"),
    ("absolute form of another scheme", "ftp://localhost/guarded"),
    ("absolute form with an encoded letter", "http://localhost/%67uarded"),
    ("absolute form with a doubled slash", "http://localhost//guarded"),
    ("no slash", "guarded"),
    ("authority before the path", "//localhost/guarded"),
];

/// Checks that requests without a key and with an invalid key are rejected and run no handler.
fn never_without_a_key(target: &Target, method: &str, path: &str) -> Result<(), String> {
    let mut caller = target.caller(target.doors.plain);
    caller.refused_somehow(&Request::new(method, path), &REFUSED)?;
    caller.refused_somehow(&Request::new(method, path).bearer(&target.keys.unknown), &REFUSED)?;
    // With a valid key, the response is a 200 from the handler, or a 4xx and the handler does not
    // run.
    let (answer, counts) = caller.ask(&Request::new(method, path).bearer(&target.keys.active))?;
    match (answer.status, counts.ran) {
        (200, 1) | (400..=499, 0) => Ok(()),
        (status, ran) => {
            Err(format!("{method} {path} with a valid key: {status}, and {ran} handlers ran"))
        }
    }
}
