//! Checks rejections against the table of responses in `guide/concepts.md`, and checks that
//! rejections reveal nothing else.

use std::net::SocketAddr;

use super::{
    Case, case,
    target::{ALL_OF, ANY_OF, Target},
    wire::{Answer, Request},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("nothing presented", "D1 D4 D5", |target| {
            row(target, target.doors.plain, &Request::get("/guarded"), 401, Some(""))
        }),
        case("a key that is not good", "D1 D4 D5", |target| {
            for (_, key) in target.keys.invalid() {
                let request = Request::get("/guarded").bearer(&key);
                row(target, target.doors.plain, &request, 401, Some(", error=\"invalid_token\""))?;
            }
            Ok(())
        }),
        case("more than one credential", "D1 D4 D5", |target| {
            let key = &target.keys.active;
            let request = Request::get("/guarded").bearer(key).api_key(key);
            row(target, target.doors.plain, &request, 400, Some(", error=\"invalid_request\""))
        }),
        case("a missing scope", "D1 D4 D5", |target| {
            for (path, scopes) in [("/scopes/all", ALL_OF), ("/scopes/any", ANY_OF)] {
                let request = Request::get(path).bearer(&target.keys.active);
                let challenge = format!(", error=\"insufficient_scope\", scope=\"{scopes}\"");
                row(target, target.doors.plain, &request, 403, Some(&challenge))?;
            }
            Ok(())
        }),
        case("an unavailable key table", "D1 D3", |target| {
            let request = Request::get("/guarded").bearer(&target.keys.active);
            let answer = target.caller(target.doors.failing).refused(&request, 503)?;
            if answer.header("retry-after").and_then(|value| value.parse::<u32>().ok()).is_none() {
                return Err(format!("no Retry-After in seconds: {answer:?}"));
            }
            row(target, target.doors.failing, &request, 503, None)?;
            // Rejections that need no lookup are unchanged.
            row(target, target.doors.failing, &Request::get("/guarded"), 401, Some(""))?;
            let malformed = Request::get("/guarded").bearer("malformed");
            row(target, target.doors.failing, &malformed, 401, Some(", error=\"invalid_token\""))
        }),
        case("a service without key settings", "D1", |target| {
            for request in [
                Request::get("/guarded"),
                Request::get("/guarded").bearer(&target.keys.active),
                Request::get("/optional"),
            ] {
                let answer = target.caller(target.doors.unconfigured).refused(&request, 500)?;
                problem(&answer)?;
            }
            Ok(())
        }),
        case("every invalid key gets the same bytes", "D2", |target| {
            for path in ["/guarded", "/scopes/all", "/from", "/optional", "/number/1"] {
                let mut caller = target.caller(target.doors.plain);
                let expected = caller
                    .invalid(&Request::get(path).bearer(&target.keys.unknown))?
                    .without_date();
                for (why, key) in target.keys.invalid() {
                    for request in
                        [Request::get(path).bearer(&key), Request::get(path).api_key(&key)]
                    {
                        same_bytes(why, &expected, &caller.invalid(&request)?)?;
                    }
                }
                for key in
                    ["", " ", "k k", "k%41", "\u{e9}", &"k".repeat(257), &"k".repeat(100_000)]
                {
                    same_bytes(key, &expected, &caller.invalid(&Request::get(path).api_key(key))?)?;
                }
            }
            Ok(())
        }),
        case("every invalid key gets the same bytes in the query and a cookie", "D2", |target| {
            let mut caller = target.caller(target.doors.recipe);
            let in_query = |key: &str| Request::get(format!("/guarded?key={key}"));
            let in_cookie =
                |key: &str| Request::get("/guarded").line(format!("Cookie: app_key={key}"));
            let expected_in_query = caller.invalid(&in_query(&target.keys.unknown))?.without_date();
            let expected_in_cookie =
                caller.invalid(&in_cookie(&target.keys.unknown))?.without_date();
            for (why, key) in target.keys.invalid() {
                same_bytes(why, &expected_in_query, &caller.invalid(&in_query(&key))?)?;
                same_bytes(why, &expected_in_cookie, &caller.invalid(&in_cookie(&key))?)?;
            }
            for key in ["", "%", "%zz", "%00", "%25", &"k".repeat(300)] {
                same_bytes(key, &expected_in_query, &caller.invalid(&in_query(key))?)?;
            }
            Ok(())
        }),
        case("an unknown caller gets the same bytes", "D2 C5", |target| {
            let mut caller = target.caller(target.doors.proxied);
            let expected = caller
                .invalid(&Request::get("/guarded").bearer(&target.keys.unknown))?
                .without_date();
            for line in [
                "X-A: b",
                "X-Forwarded-For: unknown",
                "X-Forwarded-For: 10.0.1.2",
                "X-Forwarded-For: 198.51.100.1",
            ] {
                for key in [&target.keys.here, &target.keys.elsewhere, &target.keys.any_v6] {
                    let answer =
                        caller.invalid(&Request::get("/guarded").bearer(key).line(line))?;
                    same_bytes(line, &expected, &answer)?;
                }
            }
            Ok(())
        }),
        case("nothing of the request is echoed", "D4", nothing_echoed),
        case("a guarded response is private and varies by credential", "D5", |target| {
            let mut caller = target.caller(target.doors.plain);
            let answer = caller.passes(&Request::get("/guarded").bearer(&target.keys.active))?;
            has(&answer, "cache-control", "private")?;
            consulted(&answer)
        }),
        case("a key in the query forbids caching and referrers", "D5", |target| {
            let mut caller = target.caller(target.doors.recipe);
            let passed =
                caller.passes(&Request::get(format!("/guarded?key={}", target.keys.active)))?;
            let refused =
                caller.invalid(&Request::get(format!("/guarded?key={}", target.keys.unknown)))?;
            for answer in [passed, refused] {
                has(&answer, "cache-control", "no-store")?;
                has(&answer, "referrer-policy", "no-referrer")?;
            }
            Ok(())
        }),
        case("a public route is unaffected by the guard", "D1", |target| {
            for (_, door) in doors(target) {
                for request in [
                    Request::get("/public"),
                    Request::get("/public").bearer("bad").api_key("worse"),
                ] {
                    let (answer, counts) = target.caller(door).ask(&request)?;
                    if answer.status != 200
                        || counts.ran > 0
                        || answer.header("www-authenticate").is_some()
                    {
                        return Err(format!("{request}: {answer:?}"));
                    }
                }
            }
            Ok(())
        }),
    ];
    cases.push(case("every door rejects a request without a key", "D1 A12", |target| {
        for (name, door) in doors(target) {
            let mut caller = target.caller(door);
            for path in [
                "/guarded",
                "/get-only",
                "/scopes/all",
                "/scopes/any",
                "/from",
                "/number/1",
                "/search?limit=1",
                "/socket",
                "/files/a/b",
            ] {
                let (answer, counts) = caller.ask(&Request::get(path))?;
                let expected = if name == "unconfigured" { 500 } else { 401 };
                if answer.status != expected || counts.ran + counts.extracted > 0 {
                    return Err(format!("{name} {path}: {} and {counts:?}", answer.status));
                }
            }
        }
        Ok(())
    }));
    cases
}

fn doors(target: &Target) -> [(&'static str, SocketAddr); 6] {
    let doors = &target.doors;
    [
        ("plain", doors.plain),
        ("recipe", doors.recipe),
        ("proxied", doors.proxied),
        ("cors", doors.cors),
        ("failing", doors.failing),
        ("unconfigured", doors.unconfigured),
    ]
}

/// Checks one row of the table: the status, the challenge, and the headers that every rejection
/// has.
fn row(
    target: &Target,
    door: SocketAddr,
    request: &Request,
    status: u16,
    parameters: Option<&str>,
) -> Result<(), String> {
    let answer = target.caller(door).refused(request, status)?;
    let challenge = answer.header("www-authenticate");
    let expected = match (parameters, challenge) {
        (None, None) => true,
        (Some(parameters), Some(challenge)) => {
            let realm =
                challenge.strip_prefix("Bearer realm=\"").and_then(|rest| rest.split_once('"'));
            realm.is_some_and(|(_, rest)| rest == parameters)
        }
        _ => false,
    };
    if !expected {
        return Err(format!("{request}: the challenge is {challenge:?}, expected {parameters:?}"));
    }
    problem(&answer).map_err(|error| format!("{request}: {error}"))?;
    consulted(&answer)?;
    has(&answer, "cache-control", "no-store")?;
    has(&answer, "x-content-type-options", "nosniff")?;
    let known = [
        "cache-control",
        "content-length",
        "content-type",
        "date",
        "referrer-policy",
        "retry-after",
        "vary",
        "www-authenticate",
        "x-content-type-options",
    ];
    let mut names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    if names.len() < count || names.iter().any(|name| !known.contains(name)) {
        return Err(format!("{request}: other headers than expected: {names:?}"));
    }
    Ok(())
}

/// Checks that the body is a problem document with only the members `detail`, `status`, `title` and
/// `type`.
fn problem(answer: &Answer) -> Result<(), String> {
    has(answer, "content-type", "application/problem+json")?;
    has(answer, "content-length", &answer.body.len().to_string())?;
    let body: serde_json::Value =
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let members: Vec<&str> = body
        .as_object()
        .map(|members| members.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let right = members == ["detail", "status", "title", "type"]
        && body["status"] == answer.status
        && body["type"] == "about:blank"
        && body["title"].is_string()
        && body["detail"].is_string();
    if right { Ok(()) } else { Err(format!("not the body of a rejection: {body}")) }
}

fn has(answer: &Answer, name: &str, expected: &str) -> Result<(), String> {
    let values: Vec<&str> = answer
        .headers
        .iter()
        .filter(|(own, _)| own == name)
        .map(|(_, value)| value.as_str())
        .collect();
    if values == [expected] {
        Ok(())
    } else {
        Err(format!("{}: {name} is {values:?}, expected {expected:?}", answer.status))
    }
}

/// Checks that `Vary` names `Authorization` and `X-API-Key`, which may contain a key.
fn consulted(answer: &Answer) -> Result<(), String> {
    let vary = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
    if ["authorization", "x-api-key"].iter().all(|name| vary.contains(name)) {
        Ok(())
    } else {
        Err(format!("{}: Vary is {vary:?}", answer.status))
    }
}

fn same_bytes(why: &str, expected: &[u8], answer: &Answer) -> Result<(), String> {
    let own = answer.without_date();
    if own == expected {
        Ok(())
    } else {
        let why = &why[..why.len().min(40)];
        Err(format!("{why}: {}\ninstead of {}", own.escape_ascii(), expected.escape_ascii()))
    }
}

fn nothing_echoed(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.plain);
    let keys = &target.keys;
    let request = |key: &str| {
        Request::new("POST", "/files/echo-path?echo-query=1")
            .api_key(key)
            .line("X-Echo: echo-header")
            .line("Origin: https://echo-origin")
            .line("Accept: echo/accept")
            .body("text/plain", "echo-body")
    };
    for key in [&*keys.unknown, &keys.elsewhere, &keys.expired, "echo-key", "<script>echo</script>"]
    {
        let answer = caller.invalid(&request(key))?;
        let pieces = [
            "echo",
            "203.0.113.7",
            "127.0.0.1",
            "<script",
            key,
            &key[..key.len().min(12)],
            "files",
            "localhost",
        ];
        if let Some(piece) = pieces.iter().find(|piece| answer.contains(piece)) {
            return Err(format!("the response contains {piece:?}: {answer:?}"));
        }
    }
    let several = caller.several(&request("echo-key").bearer("echo-other"))?;
    let lacking = caller.lacks_scope(&Request::get("/scopes/all").bearer(&keys.reader), ALL_OF)?;
    for answer in [several, lacking] {
        if answer.contains("echo") || answer.contains(&keys.reader) || answer.contains("cakes:read")
        {
            return Err(format!("the response repeats a part of the request: {answer:?}"));
        }
    }
    Ok(())
}
