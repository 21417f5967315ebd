//! The scopes and the expiry of a key.

use chrono::TimeDelta;

use super::{
    Case, case,
    target::{ALL_OF, ANY_OF, Target},
    wire::Request,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("all scopes are needed if all are required", "D1", |target| {
            let mut caller = target.caller(target.doors.plain);
            let keys = &target.keys;
            caller.passes(&Request::get("/scopes/all").bearer(&keys.writer_and_deleter))?;
            for lacking in [&keys.writer, &keys.reader, &keys.active] {
                caller.lacks_scope(&Request::get("/scopes/all").bearer(lacking), ALL_OF)?;
            }
            Ok(())
        }),
        case("one scope is enough if any is required", "D1", |target| {
            let mut caller = target.caller(target.doors.plain);
            let keys = &target.keys;
            for enough in [&keys.writer, &keys.reader, &keys.writer_and_deleter] {
                caller.passes(&Request::get("/scopes/any").bearer(enough))?;
            }
            caller.lacks_scope(&Request::get("/scopes/any").bearer(&keys.active), ANY_OF).map(drop)
        }),
        case("a scope is a whole word", "D1", |target| {
            let mut caller = target.caller(target.doors.plain);
            let key = &target.keys.resembling;
            caller.lacks_scope(&Request::get("/scopes/all").bearer(key), ALL_OF)?;
            caller.lacks_scope(&Request::get("/scopes/any").bearer(key), ANY_OF)?;
            caller.passes(&Request::get("/guarded").bearer(key)).map(drop)
        }),
        case("the response to an invalid key names no scopes", "D1 D2", |target| {
            let mut caller = target.caller(target.doors.plain);
            for (_, key) in target.keys.invalid() {
                let answer = caller.invalid(&Request::get("/scopes/all").bearer(&key))?;
                if answer.contains("cakes:") {
                    return Err(format!("a 401 names scopes: {answer:?}"));
                }
            }
            caller.nothing_presented(&Request::get("/scopes/all")).map(drop)
        }),
        case("a key expires at the exact time, cached or not", "E5", |target| {
            let result = expires_at_the_exact_time(target);
            target.clock.set(target.now);
            result
        }),
        case("an expired key stays expired", "E5 F12", |target| {
            let mut caller = target.caller(target.doors.plain);
            for _ in 0..2 {
                caller.invalid(&Request::get("/guarded").bearer(&target.keys.expired))?;
            }
            Ok(())
        }),
    ]
}

/// Checks expiry at the exact time. The clock moves only forward; other tests cover a clock that is
/// set back.
fn expires_at_the_exact_time(target: &Target) -> Result<(), String> {
    let mut caller = target.caller(target.doors.plain);
    let keys = &target.keys;
    let warm = Request::get("/guarded").bearer(&keys.ending);
    for before in [TimeDelta::milliseconds(1), TimeDelta::microseconds(1)] {
        target.clock.set(keys.end - before);
        caller.passes(&warm)?;
        caller.passes(&warm)?;
    }
    target.clock.set(keys.end);
    caller.invalid(&warm)?;
    caller.invalid(&Request::get("/guarded").bearer(&keys.ending_cold))?;
    for after in [TimeDelta::microseconds(1), TimeDelta::milliseconds(1), TimeDelta::days(36_500)] {
        target.clock.set(keys.end + after);
        caller.invalid(&warm)?;
        // This key has no expiry.
        caller.passes(&Request::get("/guarded").bearer(&keys.active))?;
    }
    Ok(())
}
