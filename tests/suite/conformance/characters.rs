//! Keys with unusual bytes, lengths and encodings.

use std::ops::Range;

use super::{
    Case, case,
    target::Target,
    wire::{Request, percent_encoded},
};

/// Statuses for a byte that is not allowed: 400 from the HTTP parser, or 401 from the guard.
const REFUSED: [u16; 2] = [400, 401];
/// Allowed statuses for a request or key that is too long.
const TOO_LONG: [u16; 5] = [400, 401, 413, 414, 431];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("every byte within a key in X-API-Key", "B5 B9", |target| {
            every_byte(target, |key| [b"X-API-Key: ", key].concat())
        }),
        case("every byte within a key in Authorization", "B5 B9", |target| {
            every_byte(target, |key| [b"Authorization: Bearer ", key].concat())
        }),
        case("every byte within a key in a cookie", "B5 B9", |target| {
            every_byte(target, |key| [b"Cookie: app_key=", key].concat())
        }),
        case("every byte before a key", "B5 B9", |target| {
            let mut caller = target.caller(target.doors.plain);
            // Whitespace before a value is not part of the value.
            for byte in (0..=u8::MAX).filter(|byte| !matches!(byte, b' ' | b'\t')) {
                let line = [b"X-API-Key: ", &[byte][..], target.keys.active.as_bytes()].concat();
                caller.refused_somehow(&Request::get("/guarded").line(line), statuses(byte))?;
            }
            Ok(())
        }),
        case("every byte percent-encoded within a key", "B5 B6", |target| {
            every_byte_encoded(target, |_| 20..21)
        }),
        case("every byte percent-encoded before a key", "B5 B6", |target| {
            every_byte_encoded(target, |_| 0..0)
        }),
        case("every byte percent-encoded after a key", "B5 B6", |target| {
            every_byte_encoded(target, |key| key.len()..key.len())
        }),
        case("every byte as it is within a key in the query", "B5 B9", |target| {
            let mut caller = target.caller(target.doors.recipe);
            let (head, tail) = cut(&target.keys.active);
            for byte in other_bytes(&target.keys.active) {
                let path = [b"/guarded?key=", head.as_bytes(), &[byte], tail.as_bytes()].concat();
                caller.refused_somehow(&Request::get(path), &REFUSED)?;
            }
            Ok(())
        }),
        case("every byte as it is in the name of a header", "B9 B10", |target| {
            let mut caller = target.caller(target.doors.plain);
            let key = &target.keys.active;
            // With `-`, the line has the correct header name, so `-` is left out.
            for byte in (0..=u8::MAX).filter(|byte| !matches!(byte, b'-')) {
                let line = [b"X-API", &[byte][..], b"Key: ", key.as_bytes()].concat();
                caller.refused_somehow(&Request::get("/guarded").line(line), &REFUSED)?;
            }
            Ok(())
        }),
        case("percent-encoding is decoded, once", "B6", decoded_once),
        case("a key in look-alike letters is 401", "A8 B5", |target| {
            let mut caller = target.caller(target.doors.recipe);
            let key = &target.keys.active;
            for (letter, alike) in [
                ("a", "\u{430}"),
                ("k", "\u{212a}"),
                ("_", "\u{ff3f}"),
                ("l", "\u{17f}"),
                ("i", "\u{131}"),
            ] {
                let alike = key.replacen(letter, alike, 1);
                caller.invalid(&Request::get("/guarded").api_key(&alike))?;
                let encoded = percent_encoded(&alike);
                caller.invalid(&Request::get(format!("/guarded?key={encoded}")))?;
            }
            Ok(())
        }),
    ];
    cases.extend([1, 7, 8, 51, 52, 53, 255, 256, 257, 258, 768, 769, 4096, 65_536, 100_000].map(
        |length| {
            case(format!("{length} bytes in a header are 401"), "B4", move |target| {
                let mut caller = target.caller(target.doors.recipe);
                let key = of_length(&target.keys.active, length);
                caller.invalid(&Request::get("/guarded").api_key(&key))?;
                caller.invalid(&Request::get("/guarded").bearer(&key))?;
                caller.invalid(&Request::get("/guarded").line(format!("Cookie: app_key={key}")))?;
                caller.passes(&Request::get("/guarded").bearer(&target.keys.active)).map(drop)
            })
        },
    ));
    cases.extend([255, 256, 257, 768, 769, 60_000].map(|length| {
        case(format!("{length} bytes in the query are 401"), "B4", move |target| {
            let mut caller = target.caller(target.doors.recipe);
            let key = of_length(&target.keys.active, length);
            caller.invalid(&Request::get(format!("/guarded?key={key}")))?;
            let encoded = percent_encoded(&key[..length / 3]);
            caller.invalid(&Request::get(format!("/guarded?key={encoded}")))?;
            caller.passes(&Request::get(format!("/guarded?key={}", target.keys.active))).map(drop)
        })
    }));
    cases.push(case("an oversized request is rejected by the HTTP parser", "B4 B9", |target| {
        let mut caller = target.caller(target.doors.recipe);
        let long = of_length(&target.keys.active, 200_000);
        caller.refused_somehow(&Request::get("/guarded").api_key(&long), &TOO_LONG)?;
        caller.refused_somehow(
            &Request::get(format!("/guarded?key={}", &long[..100_000])),
            &TOO_LONG,
        )?;
        let many = (0..200).fold(Request::get("/guarded"), |request, number| {
            request.line(format!("X-{number}: {number}"))
        });
        caller.refused_somehow(&many, &TOO_LONG)?;
        caller.passes(&Request::get("/guarded").bearer(&target.keys.active)).map(drop)
    }));
    cases.extend(BAD_QUERIES.map(|(name, query)| {
        case(format!("{name} in the query is 401"), "B6", move |target| {
            let (head, tail) = cut(&target.keys.active);
            let query = query
                .replace("KEY", &target.keys.active)
                .replace("HEAD", head)
                .replace("TAIL", &tail[1..]);
            target
                .caller(target.doors.recipe)
                .invalid(&Request::get(format!("/guarded?{query}")))
                .map(drop)
        })
    }));
    cases
}

/// Queries with an invalid key. `KEY` stands for a valid key, and `HEAD` and `TAIL` for its parts
/// before and after one removed character.
const BAD_QUERIES: [(&str, &str); 18] = [
    ("a parameter without a value", "key"),
    ("an empty parameter", "key="),
    ("an equals sign too many", "key==KEY"),
    ("a plus sign before the key", "key=+KEY"),
    ("a plus sign after the key", "key=KEY+"),
    ("a semicolon after the key", "key=KEY;a=b"),
    ("a second value after a comma", "key=KEY,KEY"),
    ("a percent sign after the key", "key=KEY%"),
    ("half a sequence after the key", "key=KEY%6"),
    ("a sequence that is not hexadecimal", "key=HEAD%zzTAIL"),
    ("a sequence with a sign", "key=HEAD%+1TAIL"),
    ("a sequence with a space", "key=HEAD%%201TAIL"),
    ("a sequence of UTF-16", "key=HEAD%u0061TAIL"),
    ("a sequence encoded itself", "key=HEAD%2561TAIL"),
    ("an overlong sequence", "key=HEAD%c1%a1TAIL"),
    ("a NUL and more", "key=KEY%00.jpg"),
    ("a line break and a header", "key=KEY%0d%0aX-API-Key:%20KEY"),
    ("a quoted key", "key=%22KEY%22"),
];

/// Returns an invalid key of this many bytes. The valid key, repeated or cut, supplies the bytes.
fn of_length(key: &str, length: usize) -> String {
    let mut text: String = key.chars().cycle().take(length).collect();
    if text == *key {
        text.replace_range(length - 1.., "~");
    }
    text
}

/// Splits a key before its 21st character.
fn cut(key: &str) -> (&str, &str) {
    key.split_at(20)
}

/// Returns every byte except the first byte after the position where [`cut`] splits this key.
fn other_bytes(key: &str) -> impl Iterator<Item = u8> {
    let own = key.as_bytes()[20];
    (0..=u8::MAX).filter(move |&byte| byte != own)
}

/// Returns the allowed statuses for a byte. Bytes that HTTP allows in a header value reach the
/// guard.
fn statuses(byte: u8) -> &'static [u16] {
    match byte {
        b'\t' | b' '..=b'~' | 0x80.. => &[401],
        _ => &REFUSED,
    }
}

/// Replaces a character of a key in a header by each byte, and inserts each byte before that
/// character. No such key is accepted. All bytes that HTTP allows in a header value reach the
/// guard.
fn every_byte(target: &Target, line: impl Fn(&[u8]) -> Vec<u8>) -> Result<(), String> {
    let mut caller = target.caller(target.doors.recipe);
    let (head, tail) = cut(&target.keys.active);
    for byte in other_bytes(&target.keys.active) {
        for tail in [tail, &tail[1..]] {
            let key = [head.as_bytes(), &[byte], tail.as_bytes()].concat();
            caller.refused_somehow(&Request::get("/guarded").line(line(&key)), statuses(byte))?;
        }
    }
    caller.passes(&Request::get("/guarded").line(line(target.keys.active.as_bytes()))).map(drop)
}

/// Replaces a part of a valid key in the query by each percent-encoded byte. The response is 401
/// unless the byte is the original character.
fn every_byte_encoded(target: &Target, place: fn(&str) -> Range<usize>) -> Result<(), String> {
    let mut caller = target.caller(target.doors.recipe);
    let key = &target.keys.active;
    let place = place(key);
    for byte in 0..=u8::MAX {
        for encoded in [format!("%{byte:02x}"), format!("%{byte:02X}")] {
            let (head, tail) = (&key[..place.start], &key[place.end..]);
            let request = Request::get(format!("/guarded?key={head}{encoded}{tail}"));
            if key.as_bytes()[place.clone()] == [byte] {
                caller.passes(&request)?;
            } else {
                caller.invalid(&request)?;
            }
        }
    }
    Ok(())
}

fn decoded_once(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.recipe);
    let key = &target.keys.active;
    let once = percent_encoded(key);
    let twice = once.replace('%', "%25");
    for name in ["key", "%6bey", "%6B%65%79"] {
        caller.passes(&Request::get(format!("/guarded?{name}={once}")))?;
        caller.passes(&Request::get(format!("/guarded?a=b&{name}={key}&c=d")))?;
        caller.invalid(&Request::get(format!("/guarded?{name}={twice}")))?;
    }
    // Headers are not percent-decoded.
    caller.invalid(&Request::get("/guarded").api_key(&once))?;
    caller.invalid(&Request::get("/guarded").bearer(&once)).map(drop)
}
