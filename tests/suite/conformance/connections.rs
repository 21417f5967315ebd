//! A credential is valid only for its request: earlier requests on the connection do not matter.

use super::{
    Case, case,
    target::{Counts, Target},
    wire::{Answer, Connection, Request},
};
use crate::support::random::Random;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("a good key does not stay with its connection", "B14", |target| {
            let mut caller = target.caller(target.doors.plain);
            let key = &target.keys.active;
            for _ in 0..3 {
                caller.passes(&Request::get("/guarded").bearer(key))?;
                caller.nothing_presented(&Request::get("/guarded"))?;
                caller.invalid(&Request::get("/guarded").api_key(&target.keys.unknown))?;
                caller.several(&Request::get("/guarded").api_key(key).bearer(key))?;
                caller.nothing_presented(&Request::new("POST", "/guarded"))?;
            }
            stays_open(caller.is_connected())
        }),
        case("a bad key does not stay with its connection either", "B14", |target| {
            let mut caller = target.caller(target.doors.plain);
            for (_, bad) in target.keys.invalid() {
                caller.invalid(&Request::get("/guarded").bearer(&bad))?;
                caller.passes(&Request::get("/guarded").bearer(&target.keys.active))?;
            }
            stays_open(caller.is_connected())
        }),
        case("scopes do not stay with a connection", "B14", |target| {
            let mut caller = target.caller(target.doors.plain);
            for _ in 0..3 {
                caller
                    .passes(&Request::get("/scopes/all").bearer(&target.keys.writer_and_deleter))?;
                caller.lacks_scope(
                    &Request::get("/scopes/all").bearer(&target.keys.active),
                    super::target::ALL_OF,
                )?;
            }
            Ok(())
        }),
        case("requests in one write are checked one by one", "B14", |target| {
            let keys = &target.keys;
            let key = &keys.active;
            let requests = [
                (Request::get("/guarded").bearer(key), 200),
                (Request::get("/guarded"), 401),
                (Request::get("/guarded").bearer(&keys.unknown), 401),
                (Request::get("/guarded").api_key(key), 200),
                (Request::get("/guarded").api_key(key).bearer(key), 400),
                (Request::get("/scopes/all").bearer(key), 403),
                (Request::get("/scopes/all").bearer(&keys.writer_and_deleter), 200),
                (Request::get("/guarded"), 401),
            ];
            pipelined(target, &requests)
        }),
        case("any order of good and bad requests in one write", "B14", |target| {
            let mut random = Random::new(0xB14);
            let keys = &target.keys;
            for _ in 0..20 {
                let requests: Vec<(Request, u16)> = (0..8)
                    .map(|_| match random.below(5) {
                        0 => (Request::get("/guarded").bearer(&keys.active), 200),
                        1 => (Request::get("/guarded").api_key(&keys.here), 200),
                        2 => (Request::get("/guarded"), 401),
                        3 => (Request::get("/guarded").bearer(&keys.elsewhere), 401),
                        _ => (
                            Request::new("DELETE", "/guarded").bearer(&keys.active).api_key(""),
                            400,
                        ),
                    })
                    .collect();
                pipelined(target, &requests)?;
            }
            Ok(())
        }),
        case(
            "a body in one write with the next request is not that request's",
            "B14 D6",
            |target| {
                let keys = &target.keys;
                let body = |request: Request| request.body("text/plain", "hello");
                let requests = [
                    (body(Request::new("POST", "/text").bearer(&keys.active)), 200),
                    (Request::get("/guarded"), 401),
                    (Request::get("/guarded").bearer(&keys.active), 200),
                ];
                pipelined(target, &requests)
            },
        ),
        case("a request sent byte by byte is checked as a whole", "B14", |target| {
            for (request, status) in [
                (Request::get("/guarded").bearer(&target.keys.active), 200),
                (Request::get("/guarded"), 401),
            ] {
                let mut connection = Connection::open(target.doors.plain)?;
                for byte in request.bytes() {
                    connection.send(&[byte]);
                }
                let answer = connection.read(false)?.ok_or("closed without a response")?;
                expect(&request, &answer, status)?;
            }
            Ok(())
        }),
        case("HTTP/1.0 is guarded", "B14", |target| {
            let good =
                format!("GET /guarded HTTP/1.0\r\nX-API-Key: {}\r\n\r\n", target.keys.active);
            let (answers, counts) = target.exchange(target.doors.plain, good.as_bytes())?;
            if !matches!(answers.as_slice(), [answer] if answer.status == 200) || counts.ran != 1 {
                return Err(format!("with a valid key: {answers:?}, {counts:?}"));
            }
            for lines in ["", "Connection: keep-alive\r\n", "X-API-Key: bad\r\n"] {
                let bad = format!("GET /guarded HTTP/1.0\r\n{lines}\r\n");
                let answers = target.never_runs(target.doors.plain, bad.as_bytes())?;
                if !matches!(answers.as_slice(), [answer] if answer.status == 401) {
                    return Err(format!("{lines:?}: {answers:?}"));
                }
            }
            Ok(())
        }),
        case("a request that is cut short runs nothing", "B14", |target| {
            let whole = Request::get("/guarded").bearer(&target.keys.active).bytes();
            for end in [1, 10, 30, whole.len() - 2, whole.len() - 1] {
                target.never_runs(target.doors.plain, &whole[..end])?;
            }
            Ok(())
        }),
        case("an unread body leaves the connection usable or closed", "D6", unread_bodies),
        case("a WebSocket upgrade is checked before 101", "B14", upgrades),
        case("an upgrade to another protocol is checked as well", "B14", |target| {
            for protocol in ["h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c"] {
                let request = Request::get("/guarded")
                    .line(format!("Upgrade: {protocol}"))
                    .line("Connection: Upgrade, HTTP2-Settings")
                    .line("HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA");
                target.caller(target.doors.plain).nothing_presented(&request)?;
            }
            Ok(())
        }),
    ]
}

fn stays_open(open: bool) -> Result<(), String> {
    if open { Ok(()) } else { Err("the connection was closed after a rejection".to_owned()) }
}

fn expect(request: &Request, answer: &Answer, status: u16) -> Result<(), String> {
    if answer.status == status {
        Ok(())
    } else {
        Err(format!("{request}: {}, expected {status}", answer.status))
    }
}

/// Sends all requests in one write, and checks that each gets the response that it would get alone.
fn pipelined(target: &Target, requests: &[(Request, u16)]) -> Result<(), String> {
    let bytes: Vec<u8> = requests.iter().flat_map(|(request, _)| request.bytes()).collect();
    let (answers, counts) = target.exchange(target.doors.plain, &bytes)?;
    let got: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let expected: Vec<u16> = requests.iter().map(|&(_, status)| status).collect();
    let good = expected.iter().filter(|&&status| status == 200).count();
    if got == expected && counts == (Counts { ran: good, extracted: good }) {
        Ok(())
    } else {
        Err(format!("{got:?} and {counts:?}, expected {expected:?} and {good} runs"))
    }
}

/// Checks that a body that a rejection left unread is not parsed as a request.
fn unread_bodies(target: &Target) -> Result<(), String> {
    let hidden = Request::get("/guarded").bearer(&target.keys.active).bytes();
    let chunked =
        [format!("{:x}\r\n", hidden.len()).as_bytes(), &hidden, b"\r\n0\r\n\r\n"].concat();
    let bodies = [
        Request::new("POST", "/text").body("text/plain", hidden.clone()),
        Request::new("POST", "/json").body("application/json", hidden.repeat(50)),
        Request::new("POST", "/text").line("Transfer-Encoding: chunked").tail(chunked),
        Request::get("/guarded").body("text/plain", hidden.clone()),
    ];
    for request in bodies {
        let answers = target.never_runs(target.doors.plain, &request.bytes())?;
        if !matches!(answers.as_slice(), [answer] if answer.status == 401) {
            return Err(format!("{request}: {answers:?}"));
        }
        // The next request gets its usual response. It uses the same connection if that connection
        // is still open.
        let mut caller = target.caller(target.doors.plain);
        caller.nothing_presented(&request)?;
        caller.passes(&Request::get("/guarded").bearer(&target.keys.active))?;
        caller.nothing_presented(&Request::get("/guarded"))?;
    }
    Ok(())
}

fn upgrades(target: &Target) -> Result<(), String> {
    let upgrade = || {
        Request::get("/socket")
            .line("Upgrade: websocket")
            .line("Connection: Upgrade")
            .line("Sec-WebSocket-Version: 13")
            .line("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    };
    let keys = &target.keys;
    let mut caller = target.caller(target.doors.plain);
    caller.nothing_presented(&upgrade())?;
    for (_, bad) in keys.invalid() {
        caller.invalid(&upgrade().bearer(&bad))?;
    }
    caller.several(&upgrade().bearer(&keys.active).api_key(&keys.active))?;
    caller
        .nothing_presented(&upgrade().line(format!("Sec-WebSocket-Protocol: {}", keys.active)))?;
    let (answer, counts) = caller.ask(&upgrade().bearer(&keys.active))?;
    if (answer.status, counts.ran) != (101, 1) {
        return Err(format!("with a valid key: {} and {counts:?}", answer.status));
    }
    if answer.header("cache-control").is_some() {
        return Err("101 has Cache-Control".to_owned());
    }
    // Bytes after a rejected upgrade must not run a guarded handler.
    let bytes = [upgrade().bytes(), Request::get("/guarded").bytes()].concat();
    target.never_runs(target.doors.plain, &bytes).map(drop)
}
