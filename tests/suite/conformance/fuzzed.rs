//! Random header and query values, none of which causes a server error.

use std::{collections::VecDeque, net::SocketAddr};

use super::{
    target::{Doors, Target},
    wire::{Answer, Connection, Request},
};
use crate::support::random::Random;

/// Number of requests to each door, sent in groups of `IN_ONE_WRITE`.
const REQUESTS: usize = 1000;
const IN_ONE_WRITE: usize = 10;

/// Pieces of random values, besides random bytes.
const PIECES: [&str; 26] = [
    "Bearer ",
    "bearer",
    "Basic ",
    "ak_live_",
    "KEY",
    "=",
    ",",
    ";",
    "\"",
    " ",
    "\t",
    "%",
    "%41",
    "%2561",
    "+",
    "/",
    "\\",
    "\u{e9}",
    "app_key=",
    "key=",
    "&",
    "unknown",
    "127.0.0.1",
    "[::1]:80",
    "\u{1f511}",
    "..",
];
const NAMES: [&str; 9] = [
    "Authorization",
    "X-API-Key",
    "Cookie",
    "X-Forwarded-For",
    "Origin",
    "Referer",
    "Accept",
    "Forwarded",
    "Proxy-Authorization",
];
const PATHS: [&str; 7] =
    ["/guarded", "/optional", "/scopes/all", "/from", "/public", "/nowhere", "/number/1"];

/// Sends thousands of random requests, all valid HTTP, to three doors, over one connection to each.
/// Every request must get a response that is not a 5xx.
pub(super) fn never_a_fault(target: &Target) -> Result<(), String> {
    let doors = &target.doors;
    for door in [doors.plain, doors.recipe, doors.proxied] {
        each_answer(target, door, |request, answer| {
            if answer.status < 500 { Ok(()) } else { Err(format!("{request}: {}", answer.status)) }
        })?;
    }
    Ok(())
}

/// Checks that two independent implementations give the same responses: the same status, challenge
/// and client IP.
pub(super) fn answer_alike(one: &Target, other: &Target) -> Result<(), String> {
    let doors: [fn(&Doors) -> SocketAddr; 3] =
        [|doors| doors.plain, |doors| doors.recipe, |doors| doors.proxied];
    for door in doors {
        let mut expected = VecDeque::new();
        each_answer(one, door(&one.doors), |_, answer| {
            expected.push_back(essence(answer));
            Ok(())
        })?;
        each_answer(other, door(&other.doors), |request, answer| {
            let (expected, own) = (expected.pop_front(), Some(essence(answer)));
            if own == expected {
                Ok(())
            } else {
                Err(format!("{request}: {own:?}, the other service: {expected:?}"))
            }
        })?;
    }
    Ok(())
}

/// Returns the parts of a response that must be equal: the status, the parameters after the realm,
/// and the body of a 200. The realms and the bodies of rejections may differ.
fn essence(answer: &Answer) -> (u16, Option<String>, Vec<u8>) {
    let challenge = answer.header("www-authenticate");
    let parameters = challenge.map(|challenge| {
        let parameters = challenge.split_once(", ");
        parameters.map_or_else(String::new, |(_, parameters)| parameters.to_owned())
    });
    let body = if answer.status == 200 { answer.body.clone() } else { Vec::new() };
    (answer.status, parameters, body)
}

/// Sends the same requests in every run, except for the key in them, and checks each response.
fn each_answer(
    target: &Target,
    door: SocketAddr,
    mut check: impl FnMut(&Request, &Answer) -> Result<(), String>,
) -> Result<(), String> {
    let mut random = Random::new(0xB9);
    let mut connection = Connection::open(door)?;
    for _ in 0..REQUESTS / IN_ONE_WRITE {
        let requests: Vec<Request> =
            (0..IN_ONE_WRITE).map(|_| request(&mut random, &target.keys.active)).collect();
        let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
        connection.send(&bytes);
        for request in &requests {
            let answer = connection
                .read(false)?
                .ok_or_else(|| format!("{request}: closed without a response"))?;
            check(request, &answer)?;
        }
    }
    Ok(())
}

fn request(random: &mut Random, key: &str) -> Request {
    let path = PATHS[random.below(PATHS.len())];
    let target = match random.below(3) {
        0 => path.to_owned(),
        1 => format!("{path}?key={}", in_query(&value(random, key))),
        _ => format!("{path}?{}", in_query(&value(random, key))),
    };
    (0..random.below(4)).fold(Request::get(target), |request, _| {
        let name = NAMES[random.below(NAMES.len())];
        request.line([name.as_bytes(), b": ", &value(random, key)].concat())
    })
}

/// Returns random bytes that a header value may contain.
fn value(random: &mut Random, key: &str) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..random.below(8) {
        match random.below(3) {
            0 => value.extend((0..random.below(12)).map(|_| random.byte())),
            1 => value.extend(PIECES[random.below(PIECES.len())].replace("KEY", key).bytes()),
            _ => {
                let end = random.below(key.len() + 1);
                value.extend_from_slice(&key.as_bytes()[..end]);
            }
        }
    }
    if random.below(50) == 0 {
        value = value.repeat(random.below(60));
    }
    value.retain(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    value
}

/// Returns these bytes as part of a query, with disallowed bytes percent-encoded.
fn in_query(value: &[u8]) -> String {
    let as_it_is =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]|\\^`{}".contains(&byte);
    value
        .iter()
        .map(
            |&byte| {
                if as_it_is(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}
