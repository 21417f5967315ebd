//! The key is checked before the rest of the request is read: an invalid key gets 401 whatever the
//! body, path or query is.

use std::time::{Duration, Instant};

use super::{
    Case, case,
    target::Target,
    wire::{Connection, Request},
};

/// Maximum time of a rejection, which does not wait for the rest of the request.
const PROMPTLY: Duration = Duration::from_secs(60);

type Make = fn() -> Request;

/// Requests that extractors reject, each with the status for a valid key, or `None` if the body
/// never ends.
const BROKEN: [(&str, Make, Option<u16>); 14] = [
    ("bad JSON", || Request::new("POST", "/json").body("application/json", "{bad}"), Some(400)),
    (
        "JSON without its field",
        || Request::new("POST", "/json").body("application/json", "{}"),
        Some(400),
    ),
    (
        "JSON that is not UTF-8",
        || {
            Request::new("POST", "/json")
                .body("application/json", b"{\"name\":\"\xff\"}".as_slice())
        },
        Some(400),
    ),
    (
        "JSON nested deep",
        || Request::new("POST", "/json").body("application/json", "[".repeat(100_000)),
        Some(400),
    ),
    (
        "a wrong content type",
        || Request::new("POST", "/json").body("text/plain", "{\"name\":\"a\"}"),
        Some(400),
    ),
    (
        "no content type",
        || Request::new("POST", "/json").line("Content-Length: 2").tail("{}"),
        Some(400),
    ),
    (
        "a body of 3 MB",
        || Request::new("POST", "/text").body("text/plain", vec![b'a'; 3_000_000]),
        Some(413),
    ),
    ("a missing query field", || Request::get("/search?other=1"), Some(400)),
    ("a query field of another type", || Request::get("/search?limit=many"), Some(400)),
    ("a path that is not a number", || Request::get("/number/not-a-number"), Some(404)),
    (
        "a body that never arrives",
        || {
            Request::new("POST", "/json")
                .line("Content-Type: application/json")
                .line("Content-Length: 100")
        },
        None,
    ),
    (
        "a body that stops half-way",
        || Request::new("POST", "/text").line("Content-Length: 100").tail("half"),
        None,
    ),
    (
        "a chunked body that never ends",
        || Request::new("POST", "/text").line("Transfer-Encoding: chunked").tail("5\r\nhello\r\n"),
        None,
    ),
    (
        "a body of terabytes",
        || Request::new("POST", "/text").line("Content-Length: 9999999999999").tail("begun"),
        None,
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = BROKEN
        .into_iter()
        .map(|(name, make, with_key)| {
            case(format!("{name} is 401 without a valid key"), "B8", move |target| {
                let keys = &target.keys;
                for request in [
                    make(),
                    make().bearer(&keys.unknown),
                    make().api_key("malformed"),
                    make().bearer(&keys.revoked),
                ] {
                    promptly(target, &request, 401)?;
                }
                promptly(target, &make().bearer(&keys.active).api_key(&keys.active), 400)?;
                if let Some(status) = with_key {
                    let (answer, counts) =
                        target.caller(target.doors.plain).ask(&make().bearer(&keys.active))?;
                    if (answer.status, counts.ran) != (status, 0) {
                        return Err(format!(
                            "with a valid key: {}, expected {status} from the extractor",
                            answer.status
                        ));
                    }
                }
                Ok(())
            })
        })
        .collect();
    cases.extend([
        case("a valid body is accepted with a valid key", "B8", |target| {
            let mut caller = target.caller(target.doors.plain);
            let key = &target.keys.active;
            caller.passes(
                &Request::new("POST", "/json")
                    .bearer(key)
                    .body("application/json", "{\"name\":\"a\"}"),
            )?;
            caller
                .passes(&Request::new("POST", "/text").bearer(key).body("text/plain", "hello"))?;
            caller.passes(&Request::get("/search?limit=1").bearer(key))?;
            caller.passes(&Request::get("/number/1").bearer(key)).map(drop)
        }),
        case("a valid body is 401 without a valid key", "B8", |target| {
            let mut caller = target.caller(target.doors.plain);
            for key in [&target.keys.unknown, &target.keys.elsewhere] {
                caller.invalid(
                    &Request::new("POST", "/json")
                        .bearer(key)
                        .body("application/json", "{\"name\":\"a\"}"),
                )?;
            }
            caller
                .nothing_presented(&Request::new("POST", "/text").body("text/plain", "hello"))
                .map(drop)
        }),
        case("a missing scope is 403 before the body is read", "B8", |target| {
            let keys = &target.keys;
            let request = Request::new("POST", "/scopes/body")
                .bearer(&keys.reader)
                .line("Content-Type: application/json")
                .line("Content-Length: 100");
            promptly(target, &request, 403)
        }),
        case("an endless body is answered while it is still being sent", "B8", endless),
        case("a body announced with Expect gets 401", "B8", |target| {
            let request = Request::new("POST", "/json")
                .line("Expect: 100-continue")
                .line("Content-Type: application/json")
                .line("Content-Length: 100");
            promptly(target, &request, 401)
        }),
        case("an unknown expectation changes nothing", "B8", |target| {
            let request =
                Request::new("POST", "/json").line("Expect: a miracle").line("Content-Length: 100");
            promptly(target, &request, 401)
        }),
    ]);
    cases
}

/// Checks that the request is promptly rejected with this status, although its body may never end.
fn promptly(target: &Target, request: &Request, status: u16) -> Result<(), String> {
    let started = Instant::now();
    target.caller(target.doors.plain).refused(request, status)?;
    if started.elapsed() > PROMPTLY {
        return Err(format!("{request}: answered only after {:?}", started.elapsed()));
    }
    Ok(())
}

/// Checks that the response arrives between the chunks of an endless body.
fn endless(target: &Target) -> Result<(), String> {
    let head = Request::new("POST", "/text")
        .bearer(&target.keys.unknown)
        .line("Transfer-Encoding: chunked");
    let mut connection = Connection::open(target.doors.plain)?;
    connection.send(&head.bytes());
    connection.send(b"400\r\n");
    connection.send(&[b'a'; 0x400]);
    let answer = connection.read(false)?.ok_or("closed without a response")?;
    for _ in 0..100 {
        connection.send(b"\r\n400\r\n");
        connection.send(&[b'a'; 0x400]);
    }
    if answer.status == 401 { Ok(()) } else { Err(format!("{head}: {}", answer.status)) }
}
