//! Requests that two HTTP parsers may split differently. Each response depends on the server's own
//! parser, but a guarded handler never runs for a request without a valid key.

use super::{Case, case, target::Target, wire::Request};

/// `HIDDEN` stands for a whole request without a key, `SIZE` for its length in hexadecimal, and
/// `LENGTH` for the number of bytes after the first header section.
const ATTEMPTS: [(&str, &str); 40] = [
    (
        "CL.TE",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "TE.CL",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nSIZE\r\nHIDDEN\r\n0\r\n\r\n",
    ),
    (
        "CL.0",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\nHIDDEN",
    ),
    (
        "two lengths",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: LENGTH\r\nContent-Length: 0\r\n\r\nHIDDEN",
    ),
    (
        "two lengths the other way",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: LENGTH\r\n\r\nHIDDEN",
    ),
    (
        "two equal lengths",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\nHIDDEN",
    ),
    (
        "a list of lengths",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0, LENGTH\r\n\r\nHIDDEN",
    ),
    (
        "a length with a sign",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\nHIDDEN",
    ),
    ("a negative length", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nHIDDEN"),
    (
        "a length in hexadecimal",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0x0\r\n\r\nHIDDEN",
    ),
    ("an empty length", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nHIDDEN"),
    (
        "a length beyond all numbers",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\nHIDDEN",
    ),
    (
        "a length with a space before the colon",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length : LENGTH\r\n\r\nHIDDEN",
    ),
    (
        "a length folded over two lines",
        "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n LENGTH\r\n\r\nHIDDEN",
    ),
    (
        "an encoding with a space before the colon",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an encoding after a tab",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an encoding after a vertical tab",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an encoding twice",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an encoding in a list",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity, chunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an unknown encoding",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an encoding in quotes",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an encoding in HTTP/1.0",
        "POST /public HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "an encoding with an underscore",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN",
    ),
    (
        "a chunk with a sign",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\nHIDDEN",
    ),
    (
        "a chunk in 0x",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\nHIDDEN",
    ),
    (
        "a chunk of an overflowing size",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\nHIDDEN",
    ),
    (
        "a chunk with an extension across lines",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;a=\"\nHIDDEN\"\r\n\r\nHIDDEN",
    ),
    (
        "a chunk that ends with a bare LF",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\n\nHIDDEN",
    ),
    (
        "a trailer that is a request",
        "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHIDDEN\r\n\r\n",
    ),
    (
        "bare LF at the ends of lines",
        "POST /public HTTP/1.1\nHost: h\nContent-Length: LENGTH\n\nHIDDEN",
    ),
    ("bare CR at the ends of lines", "GET /public HTTP/1.1\rHost: h\r\rHIDDEN"),
    ("a bare LF within a header", "GET /public HTTP/1.1\r\nHost: h\r\nX-A: b\n\nHIDDEN\r\n\r\n"),
    ("a NUL within a header", "GET /public HTTP/1.1\r\nHost: h\r\nX-A: b\0\r\n\r\nHIDDEN"),
    ("a folded header", "GET /public HTTP/1.1\r\nHost: h\r\nX-A: b\r\n HIDDEN\r\n\r\n"),
    ("a header without a name", "GET /public HTTP/1.1\r\nHost: h\r\n: b\r\n\r\nHIDDEN"),
    ("two hosts", "GET /public HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\nHIDDEN"),
    ("empty lines before a request", "\r\n\r\nHIDDEN"),
    ("a body of a GET", "GET /public HTTP/1.1\r\nHost: h\r\nContent-Length: LENGTH\r\n\r\nHIDDEN"),
    (
        "a body of an upgrade",
        "GET /public HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\nHIDDEN",
    ),
    ("a request line with spaces", "GET  /public  HTTP/1.1\r\nHost: h\r\n\r\nHIDDEN"),
];

/// Requests with a valid key in a place where no parser may read a credential. `KEY` stands for a
/// whole header line with the key, `SHORT` for the length of that line, and `VALUE` for the key
/// alone.
const STRAY_KEYS: [(&str, &str); 12] = [
    ("folded onto the next line", "GET /guarded HTTP/1.1\r\nHost: h\r\nX-A: b\r\n KEY\r\n\r\n"),
    (
        "folded within its own header",
        "GET /guarded HTTP/1.1\r\nHost: h\r\nX-API-Key:\r\n VALUE\r\n\r\n",
    ),
    ("before a space and a colon", "GET /guarded HTTP/1.1\r\nHost: h\r\nX-API-Key : VALUE\r\n\r\n"),
    ("after a space", "GET /guarded HTTP/1.1\r\nHost: h\r\n X-API-Key: VALUE\r\n\r\n"),
    ("before the request line", "KEY\r\nGET /guarded HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("after the head", "GET /guarded HTTP/1.1\r\nHost: h\r\n\r\nKEY\r\n\r\n"),
    ("in the body", "POST /guarded HTTP/1.1\r\nHost: h\r\nContent-Length: SHORT\r\n\r\nKEY"),
    ("after a bare CR", "GET /guarded HTTP/1.1\r\nHost: h\r\nX-A: b\rKEY\r\n\r\n"),
    ("after a NUL", "GET /guarded HTTP/1.1\r\nHost: h\r\nX-A: b\0KEY\r\n\r\n"),
    ("in the request line", "GET /guarded KEY HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("in the host", "GET /guarded HTTP/1.1\r\nHost: h KEY\r\n\r\n"),
    (
        "in a trailer",
        "POST /guarded HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nKEY\r\n\r\n",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ATTEMPTS
        .into_iter()
        .map(|(name, bytes)| {
            case(format!("{name} runs nothing without a key"), "B11 B14", move |target| {
                for path in ["/guarded", "/%67uarded", "/scopes/all"] {
                    let hidden = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
                    target.never_runs(target.doors.plain, &filled(bytes, &hidden))?;
                    // Here the first request needs a key as well, so both requests are rejected.
                    let refused = bytes.replace("/public", "/guarded");
                    target.never_runs(target.doors.plain, &filled(&refused, &hidden))?;
                }
                Ok(())
            })
        })
        .collect();
    cases.extend(ATTEMPTS.into_iter().map(|(name, bytes)| {
        case(format!("{name} lends no key to the next request"), "B14", move |target| {
            lends_nothing(target, bytes)
        })
    }));
    cases.extend(STRAY_KEYS.map(|(name, bytes)| {
        case(format!("a key {name} is ignored"), "B10 B14", move |target| {
            let line = format!("X-API-Key: {}", target.keys.active);
            let bytes = bytes
                .replace("KEY", &line)
                .replace("VALUE", &target.keys.active)
                .replace("SHORT", &line.len().to_string());
            target.never_runs(target.doors.plain, bytes.as_bytes()).map(drop)
        })
    }));
    cases
}

fn filled(bytes: &str, hidden: &str) -> Vec<u8> {
    // A parser that obeys `Content-Length` reads all bytes after the first header section as the
    // body.
    let body = bytes.split_once("\r\n\r\n").map_or("", |(_, body)| body).replace("HIDDEN", hidden);
    bytes
        .replace("LENGTH", &body.len().to_string())
        .replace("SIZE", &format!("{:x}", hidden.len()))
        .replace("HIDDEN", hidden)
        .into_bytes()
}

/// Checks that only the first request, which has a valid key, may run the handler. The hidden
/// request has no key.
fn lends_nothing(target: &Target, bytes: &str) -> Result<(), String> {
    let hidden = "GET /guarded HTTP/1.1\r\nHost: h\r\n\r\n";
    let keyed = bytes.replace("/public", "/guarded").replacen(
        "Host: h",
        &format!("X-API-Key: {}\r\nHost: h", target.keys.active),
        1,
    );
    let (answers, counts) = target.exchange(target.doors.plain, &filled(&keyed, hidden))?;
    let accepted = answers.iter().filter(|answer| answer.status == 200).count();
    if counts.ran > 1 || accepted != counts.ran {
        let sent = keyed.escape_default();
        return Err(format!("{counts:?} and {accepted} answers of 200 for one key: {sent}"));
    }
    // The service still works.
    target
        .caller(target.doors.plain)
        .passes(&Request::get("/guarded").bearer(&target.keys.active))
        .map(drop)
}
