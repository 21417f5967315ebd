//! Every method that reaches the handler is guarded, and a preflight that the CORS middleware
//! answers reaches no handler.

use super::{
    Case, case,
    target::{ORIGIN, Target},
    wire::Request,
};

/// Standard methods, extension methods, and unknown methods. Methods are case-sensitive, so `get`
/// is an unknown method.
const METHODS: [&str; 17] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "QUERY",
    "PROPFIND",
    "MKCOL",
    "PURGE",
    "LINK",
    "get",
    "Head",
    "FROBNICATE",
    "M-SEARCH",
];

/// Allowed statuses for a method that a server need not support.
const REFUSED: [u16; 5] = [400, 401, 404, 405, 501];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = METHODS
        .into_iter()
        .map(|method| {
            case(format!("{method} is guarded"), "B12", move |target| {
                let mut caller = target.caller(target.doors.plain);
                caller.nothing_presented(&Request::new(method, "/guarded"))?;
                caller.invalid(&Request::new(method, "/guarded").bearer(&target.keys.unknown))?;
                caller.several(
                    &Request::new(method, "/guarded")
                        .bearer(&target.keys.active)
                        .api_key(&target.keys.active),
                )?;
                caller
                    .passes(&Request::new(method, "/guarded").bearer(&target.keys.active))
                    .map(drop)
            })
        })
        .collect();
    cases.extend([
        case("CONNECT never runs the handler without a key", "B12", |target| {
            let mut caller = target.caller(target.doors.plain);
            for path in ["/guarded", "localhost:80", "http://localhost/guarded"] {
                let request = Request::new("CONNECT", path);
                for request in [request.clone(), request.bearer(&target.keys.unknown)] {
                    caller.refused_somehow(&request, &REFUSED)?;
                }
            }
            Ok(())
        }),
        case("a method of odd characters or thousands of letters is guarded", "B9 B12", |target| {
            let mut caller = target.caller(target.doors.plain);
            for method in ["X!#$%&'*+.^_`|~", "G/T", "G\"T", "GET:", "\u{e9}", &"M".repeat(5000)] {
                caller.refused_somehow(&Request::new(method, "/guarded"), &REFUSED)?;
            }
            Ok(())
        }),
        case("a method in a header changes nothing", "B12", |target| {
            let mut caller = target.caller(target.doors.plain);
            for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
                for method in ["OPTIONS", "HEAD"] {
                    caller.nothing_presented(
                        &Request::get("/guarded").line(format!("{name}: {method}")),
                    )?;
                }
            }
            caller.nothing_presented(&Request::new("POST", "/guarded?_method=OPTIONS")).map(drop)
        }),
        case("routes of one method answer no other without a key", "B12", |target| {
            let mut caller = target.caller(target.doors.plain);
            for path in ["/get-only", "/head-only"] {
                for method in METHODS {
                    let (answer, counts) = caller.ask(&Request::new(method, path))?;
                    if !(400..500).contains(&answer.status) || counts.ran + counts.extracted > 0 {
                        return Err(format!("{method} {path}: {} and {counts:?}", answer.status));
                    }
                }
            }
            caller.nothing_presented(&Request::new("HEAD", "/head-only"))?;
            caller.passes(&Request::new("HEAD", "/head-only").bearer(&target.keys.active)).map(drop)
        }),
        case("TRACE echoes nothing", "B12 D4", |target| {
            let mut caller = target.caller(target.doors.plain);
            let request = Request::new("TRACE", "/guarded")
                .api_key(&target.keys.unknown)
                .line("X-Echo: echo-me");
            let answer = caller.invalid(&request)?;
            if answer.contains("echo-me") || answer.contains(&target.keys.unknown) {
                return Err("TRACE returned a part of its request".to_owned());
            }
            Ok(())
        }),
        case("a HEAD rejection is a GET rejection without its body", "B12 D6", head_rejections),
        case("without CORS a preflight is a request like any other", "B12", |target| {
            let mut caller = target.caller(target.doors.plain);
            caller.nothing_presented(&preflight("GET")).map(drop)
        }),
        case("with CORS a preflight needs no key and runs nothing", "B12", preflights),
        case("rejections have the headers of the CORS around them", "B12", cors_on_rejections),
        case("with CORS the handler is still guarded", "B12", |target| {
            let mut caller = target.caller(target.doors.cors);
            // These requests are not preflights: a header is missing, or the method is not OPTIONS.
            caller.nothing_presented(&Request::new("OPTIONS", "/guarded"))?;
            caller.nothing_presented(
                &Request::new("OPTIONS", "/guarded").line(format!("Origin: {ORIGIN}")),
            )?;
            let not_options = Request::get("/guarded").line(format!("Origin: {ORIGIN}"));
            caller.nothing_presented(
                &not_options.clone().line("Access-Control-Request-Method: GET"),
            )?;
            caller.passes(&not_options.bearer(&target.keys.active)).map(drop)
        }),
    ]);
    cases
}

fn preflight(method: &str) -> Request {
    Request::new("OPTIONS", "/guarded")
        .line(format!("Origin: {ORIGIN}"))
        .line(format!("Access-Control-Request-Method: {method}"))
        .line("Access-Control-Request-Headers: authorization, x-api-key")
}

fn preflights(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.cors);
    for method in ["GET", "POST", "DELETE"] {
        let answer = caller.refused_somehow(&preflight(method), &[200, 204])?;
        let allowed = |name| answer.header(name).unwrap_or_default().to_ascii_lowercase();
        if allowed("access-control-allow-origin") != ORIGIN
            || !allowed("access-control-allow-headers").contains("authorization")
        {
            return Err(format!("{method}: {answer:?}"));
        }
    }
    // A preflight from an origin that is not allowed gets no CORS header and runs no handler.
    let foreign = Request::new("OPTIONS", "/guarded")
        .line("Origin: https://elsewhere.example")
        .line("Access-Control-Request-Method: GET");
    let (answer, counts) = caller.ask(&foreign)?;
    if counts.ran + counts.extracted > 0 || answer.header("access-control-allow-origin").is_some() {
        return Err(format!("another origin: {answer:?}, {counts:?}"));
    }
    Ok(())
}

fn cors_on_rejections(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.cors);
    let origin = format!("Origin: {ORIGIN}");
    let with_origin = |request: Request| request.line(&*origin);
    let active = &target.keys.active;
    let answers = [
        caller.nothing_presented(&with_origin(Request::get("/guarded")))?,
        caller.invalid(&with_origin(Request::get("/guarded").bearer(&target.keys.unknown)))?,
        caller.several(&with_origin(Request::get("/guarded").bearer(active).api_key(active)))?,
        caller.lacks_scope(
            &with_origin(Request::get("/scopes/all").bearer(active)),
            super::target::ALL_OF,
        )?,
    ];
    for answer in answers {
        if answer.header("access-control-allow-origin") != Some(ORIGIN) {
            return Err(format!("a browser cannot read this rejection: {answer:?}"));
        }
        // `Vary` names the headers that the guard and CORS depend on.
        let vary: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "vary")
            .map(|(_, value)| value.to_ascii_lowercase())
            .collect();
        for name in ["origin", "authorization", "x-api-key"] {
            if !vary.iter().any(|value| value.contains(name)) {
                return Err(format!("{name} is not in Vary: {vary:?}"));
            }
        }
    }
    Ok(())
}

fn head_rejections(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.plain);
    let active = &target.keys.active;
    let ways: [fn(Request, &str) -> Request; 3] = [
        |request, _| request,
        |request, _| request.bearer("bad"),
        |request, active| request.bearer(active).api_key(active),
    ];
    for way in ways {
        let ask = |method| way(Request::new(method, "/guarded"), active);
        let (get, _) = caller.ask(&ask("GET"))?;
        let (head, counts) = caller.ask(&ask("HEAD"))?;
        if counts.ran > 0 || get.lines_without_date() != head.lines_without_date() {
            return Err(format!("GET: {get:?}\nHEAD: {head:?}"));
        }
        // If the response to HEAD had a body, the body would be read as the next response.
        caller.passes(&Request::get("/guarded").bearer(active))?;
    }
    Ok(())
}
