//! Credentials and their locations.

use super::{
    Case, case,
    target::{Caller, Target},
    wire::{Request, percent_encoded},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("each default location is accepted", "B1", each_default_location_is_accepted),
        case("nothing at all is 401 without an error", "B1 D1", |target| {
            let mut caller = target.caller(target.doors.plain);
            caller.nothing_presented(&Request::get("/guarded")).map(drop)
        }),
        case("a query and a cookie count where they are enabled", "B1", |target| {
            let mut caller = target.caller(target.doors.recipe);
            let key = &target.keys.active;
            caller.passes(&Request::get(format!("/guarded?key={key}")))?;
            caller.passes(
                &Request::get("/guarded").line(format!("Cookie: a=b; app_key={key}; c=d")),
            )?;
            caller.passes(&Request::get("/guarded").bearer(key))?;
            caller.passes(&Request::get("/guarded").api_key(key)).map(drop)
        }),
        case("the scheme is case-insensitive", "B3", |target| {
            let mut caller = target.caller(target.doors.plain);
            let key = &target.keys.active;
            for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
                caller.passes(
                    &Request::get("/guarded").line(format!("Authorization: {scheme} {key}")),
                )?;
            }
            Ok(())
        }),
        case("another scheme beside a key is ignored", "B3", |target| {
            let mut caller = target.caller(target.doors.plain);
            let key = &target.keys.active;
            for scheme in ["Basic QTpC", "Digest username=\"u\"", "Negotiate abc="] {
                let beside = Request::get("/guarded").line(format!("Authorization: {scheme}"));
                caller.passes(&beside.clone().api_key(key))?;
                caller.invalid(&beside.api_key(&target.keys.unknown))?;
            }
            Ok(())
        }),
        case("an optional route accepts no key but rejects a bad one", "B3", optional),
        case("SQL in a key is rejected and has no effect", "B5 B7", sql_in_a_key),
    ];
    cases.extend(NOT_CREDENTIALS.map(|(name, line)| {
        case(format!("{name} is not a credential"), "B10", move |target| {
            let line = line.replace("KEY", &target.keys.active);
            for door in [target.doors.plain, target.doors.recipe] {
                // At the door that accepts cookies, the cookie `app_key` is a credential.
                if door == target.doors.plain || !line.starts_with("Cookie: app_key=") {
                    target
                        .caller(door)
                        .nothing_presented(&Request::get("/guarded").line(&*line))?;
                }
            }
            Ok(())
        })
    }));
    cases.extend(NOT_PARAMETERS.map(|(name, query)| {
        case(format!("{name} is not a credential"), "B1 B6 B10", move |target| {
            let path = format!("/guarded{}", query.replace("KEY", &target.keys.active));
            target.caller(target.doors.recipe).nothing_presented(&Request::get(path)).map(drop)
        })
    }));
    cases.push(case("a key in the query is ignored unless enabled", "B1", |target| {
        let key = &target.keys.active;
        let mut caller = target.caller(target.doors.plain);
        for name in ["key", "api_key", "access_token", "token", "X-API-Key"] {
            caller.nothing_presented(&Request::get(format!("/guarded?{name}={key}")))?;
        }
        // Beside a bearer, the ignored query parameter does not count as a second credential.
        caller.passes(&Request::get(format!("/guarded?key={key}")).bearer(key)).map(drop)
    }));
    cases.push(case("a key in a body is not a credential", "B10", |target| {
        let key = &target.keys.active;
        let mut caller = target.caller(target.doors.recipe);
        for (content_type, body) in [
            ("application/x-www-form-urlencoded", format!("key={key}&access_token={key}")),
            ("application/json", format!("{{\"key\":\"{key}\"}}")),
            ("text/plain", key.clone()),
        ] {
            caller.nothing_presented(&Request::new("POST", "/guarded").body(content_type, body))?;
        }
        Ok(())
    }));
    cases.push(case("a key in a trailer is not a credential", "B10", |target| {
        let key = &target.keys.active;
        let chunks = format!("0\r\nX-API-Key: {key}\r\nAuthorization: Bearer {key}\r\n\r\n");
        let request = Request::new("POST", "/guarded")
            .line("Transfer-Encoding: chunked")
            .line("Trailer: X-API-Key")
            .tail(chunks);
        target.never_runs(target.doors.plain, &request.bytes()).and_then(|answers| {
            match answers.first() {
                Some(answer) if answer.status == 401 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    }));
    cases.extend(UNUSABLE.map(|(name, value)| {
        case(format!("{name} is 401"), "B3", move |target| {
            let value = value.replace("KEY", &target.keys.active);
            let request = Request::get("/guarded").line(format!("Authorization:{value}"));
            target.caller(target.doors.plain).refused(&request, 401).map(drop)
        })
    }));
    cases.extend(
        [
            ("empty", ""),
            ("a blank", " "),
            ("quoted", "\"KEY\""),
            ("with a scheme", "Bearer KEY"),
            ("twice in one line", "KEY,KEY"),
            ("with a comment", "KEY;v=1"),
        ]
        .map(|(name, value)| {
            case(format!("an X-API-Key that is {name} is 401"), "B3 B5", move |target| {
                let value = value.replace("KEY", &target.keys.active);
                let request = Request::get("/guarded").line(format!("X-API-Key: {value}"));
                target.caller(target.doors.plain).invalid(&request).map(drop)
            })
        }),
    );
    cases.extend(duplicates());
    cases.push(case("every invalid key is 401", "D1 A5 A8", |target| {
        let mut caller = target.caller(target.doors.plain);
        for (why, key) in target.keys.invalid() {
            caller
                .invalid(&Request::get("/guarded").bearer(&key))
                .map_err(|error| format!("{why}: {error}"))?;
            caller
                .invalid(&Request::get("/guarded").api_key(&key))
                .map_err(|error| format!("{why}: {error}"))?;
        }
        Ok(())
    }));
    cases.push(case(
        "every invalid key is 401 where imported keys are accepted",
        "A3 B6",
        |target| {
            let mut caller = target.caller(target.doors.recipe);
            for (why, key) in target.keys.invalid() {
                let query = Request::get(format!("/guarded?key={key}"));
                caller.invalid(&query).map_err(|error| format!("{why}: {error}"))?;
                let cookie = Request::get("/guarded").line(format!("Cookie: app_key={key}"));
                caller.invalid(&cookie).map_err(|error| format!("{why}: {error}"))?;
            }
            Ok(())
        },
    ));
    cases
}

/// Header lines with a valid key in the wrong place.
const NOT_CREDENTIALS: [(&str, &str); 17] = [
    ("X_API_Key", "X_API_Key: KEY"),
    ("X-API_Key", "X-API_Key: KEY"),
    ("XAPIKey", "XAPIKey: KEY"),
    ("Api-Key", "Api-Key: KEY"),
    ("X-App-Key", "X-App-Key: KEY"),
    ("X-Auth-Token", "X-Auth-Token: KEY"),
    ("Proxy-Authorization", "Proxy-Authorization: Bearer KEY"),
    ("X-Forwarded-Authorization", "X-Forwarded-Authorization: Bearer KEY"),
    ("X-Original-Authorization", "X-Original-Authorization: Bearer KEY"),
    ("a cookie that is not enabled", "Cookie: app_key=KEY"),
    ("a cookie of another name", "Cookie: key=KEY; App_Key=KEY; xapp_key=KEY"),
    ("a cookie of the header's name", "Cookie: x-api-key=KEY"),
    ("Basic with the key", "Authorization: Basic KEY"),
    ("Token with the key", "Authorization: Token KEY"),
    ("ApiKey with the key", "Authorization: ApiKey KEY"),
    ("a referrer", "Referer: http://localhost/guarded?key=KEY"),
    ("an original URL", "X-Original-URL: /guarded?key=KEY"),
];

/// Queries with a valid key in the wrong place, for a door that accepts `?key=`.
const NOT_PARAMETERS: [(&str, &str); 9] = [
    ("a parameter in other case", "?KEY_=1&Key=KEY"),
    ("an array of parameters", "?key[]=KEY"),
    ("a second question mark", "??key=KEY"),
    ("a question mark within", "?a?key=KEY"),
    ("a parameter after a semicolon", "?a=b;key=KEY"),
    ("a parameter with a space before it", "?a=b&%20key=KEY"),
    ("a parameter after an encoded ampersand", "?a=b%26key=KEY"),
    ("an encoded equals sign", "?key%3dKEY"),
    ("a name encoded twice", "?%256bey=KEY"),
];

/// Values of `Authorization` that are not valid credentials. `KEY` stands for a valid key.
const UNUSABLE: [(&str, &str); 11] = [
    ("an empty Authorization", ""),
    ("a blank Authorization", "  "),
    ("Bearer without a key", " Bearer"),
    ("Bearer and a blank", " Bearer "),
    ("Bearer without a space", " BearerKEY"),
    ("Bearer with two keys", " Bearer KEY KEY"),
    ("Bearer with a quoted key", " Bearer \"KEY\""),
    ("Bearer with a comma", " Bearer KEY,"),
    ("Bearer with a tab", " Bearer\tKEY"),
    ("Bearer with a colon", " Bearer: KEY"),
    ("Bearer twice", " Bearer Bearer KEY"),
];

fn each_default_location_is_accepted(target: &Target) -> Result<(), String> {
    let key = &target.keys.active;
    let mut caller = target.caller(target.doors.plain);
    caller.passes(&Request::get("/guarded").bearer(key))?;
    for name in ["X-API-Key", "x-api-key", "X-Api-KEY"] {
        caller.passes(&Request::get("/guarded").line(format!("{name}: {key}")))?;
    }
    // Whitespace around a value is not part of the value (RFC 9110, section 5.5).
    caller.passes(&Request::get("/guarded").line(format!("X-API-Key:{key} \t"))).map(drop)
}

/// Returns cases with two credentials, in different places or in the same place. Both are valid, or
/// only the first or only the second is valid.
fn duplicates() -> Vec<Case> {
    type Place = (&'static str, fn(Request, &str) -> Request);
    const PLACES: [Place; 3] = [
        ("a bearer", |request, key| request.bearer(key)),
        ("an X-API-Key", |request, key| request.api_key(key)),
        ("a cookie", |request, key| request.line(format!("Cookie: app_key={key}"))),
    ];
    let mut cases = Vec::new();
    for (first_name, first) in PLACES {
        for (second_name, second) in PLACES {
            cases.push(case(
                format!("{first_name} and {second_name} are 400"),
                "B2",
                move |target| {
                    let mut caller = target.caller(target.doors.recipe);
                    let good = &target.keys.active;
                    for (one, other) in
                        [(good, good), (good, &target.keys.unknown), (&target.keys.unknown, good)]
                    {
                        caller.several(&second(first(Request::get("/guarded"), one), other))?;
                    }
                    if second_name != "a cookie" {
                        caller.several(&second(first(Request::get("/guarded"), good), ""))?;
                    }
                    Ok(())
                },
            ));
        }
        cases.push(case(
            format!("{first_name} and a query parameter are 400"),
            "B2",
            move |target| {
                let mut caller = target.caller(target.doors.recipe);
                let good = &target.keys.active;
                for query in [
                    format!("?key={good}"),
                    "?key=".to_owned(),
                    "?key".to_owned(),
                    "?a=b&key=bad".to_owned(),
                    "?%6Bey=%".to_owned(),
                ] {
                    caller.several(&first(Request::get(format!("/guarded{query}")), good))?;
                }
                caller
                    .several(&first(Request::get(format!("/guarded?key={good}")), "bad"))
                    .map(drop)
            },
        ));
    }
    cases.extend([
        case("a repeated header is 400 where nothing else is enabled", "B2", |target| {
            let mut caller = target.caller(target.doors.plain);
            let (good, bad) = (&target.keys.active, &target.keys.unknown);
            for (one, other) in [(good, good), (good, bad), (bad, good)] {
                caller.several(&Request::get("/guarded").bearer(one).bearer(other))?;
                caller.several(&Request::get("/guarded").api_key(one).api_key(other))?;
                caller.several(&Request::get("/guarded").bearer(one).api_key(other))?;
                let apart = Request::get("/guarded").api_key(one).line("Accept: */*");
                caller.several(&apart.line(format!("x-api-key: {other}")))?;
            }
            Ok(())
        }),
        case("a bearer beside another Authorization line is 400", "B2", |target| {
            let mut caller = target.caller(target.doors.plain);
            let key = &target.keys.active;
            let basic = "Authorization: Basic QTpC";
            caller.several(&Request::get("/guarded").bearer(key).line(basic))?;
            caller.several(&Request::get("/guarded").line(basic).bearer(key)).map(drop)
        }),
        case("a repeated query parameter is 400, however its name is encoded", "B2", |target| {
            let mut caller = target.caller(target.doors.recipe);
            let key = &target.keys.active;
            for second in ["key", "%6bey", "k%65y", "%6B%65%79"] {
                caller.several(&Request::get(format!("/guarded?key={key}&{second}={key}")))?;
                caller.several(&Request::get(format!("/guarded?{second}=bad&key={key}")))?;
                caller.several(&Request::get(format!("/guarded?key={key}&{second}")))?;
            }
            Ok(())
        }),
        case("a repeated cookie is 400", "B2", |target| {
            let mut caller = target.caller(target.doors.recipe);
            let key = &target.keys.active;
            caller.several(
                &Request::get("/guarded").line(format!("Cookie: app_key={key}; app_key={key}")),
            )?;
            caller.several(
                &Request::get("/guarded").line(format!("Cookie: app_key={key};app_key=")),
            )?;
            let two_lines = Request::get("/guarded").line(format!("Cookie: app_key={key}"));
            caller.several(&two_lines.line("Cookie: a=b; app_key=bad")).map(drop)
        }),
    ]);
    cases
}

fn optional(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.plain);
    let route = || Request::get("/optional");
    let key = &target.keys.active;
    caller.passes(&route())?;
    caller.passes(&route().bearer(key))?;
    caller.passes(&route().line("Authorization: Basic QTpC"))?;
    caller.invalid(&route().line("X-API-Key:"))?;
    caller.invalid(&route().line("Authorization: Bearer"))?;
    for (_, bad) in target.keys.invalid() {
        caller.invalid(&route().bearer(&bad))?;
    }
    caller.several(&route().bearer(key).api_key(key)).map(drop)
}

fn sql_in_a_key(target: &Target) -> Result<(), String> {
    let texts = [
        "' OR '1'='1",
        "'; DROP TABLE api_keys; --",
        "x') OR 1=1 --",
        "\\'; SELECT pg_sleep(5); --",
        "\" OR \"\"=\"",
        "$1",
        "%",
        "_",
        "%%%",
        "*",
        "?",
        ":digest",
        "0x27",
        "/*/",
        // Most of the following texts contain only key characters, so these texts are looked up.
        "--",
        "1=1",
        "NULL",
        "../../etc/passwd",
        "+~.-_/=",
    ];
    let mut caller = target.caller(target.doors.recipe);
    for text in texts {
        caller.invalid(&Request::get("/guarded").api_key(text))?;
        let encoded = percent_encoded(text);
        caller.invalid(&Request::get(format!("/guarded?key={encoded}")))?;
    }
    still_accepts(&mut caller, target)
}

/// Checks that a valid key is still accepted.
fn still_accepts(caller: &mut Caller<'_>, target: &Target) -> Result<(), String> {
    caller.passes(&Request::get("/guarded").bearer(&target.keys.active)).map(drop)
}
