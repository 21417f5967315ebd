//! Services that are broken on purpose, each in one place, as real ones were: the cases must notice every one of them.

use super::{
    Case, Failure, all_cases, holds,
    model::{self, Fault},
    run,
    serving::without_ipv6,
    wire::NO_ANSWER,
};

#[test]
fn the_model_without_a_fault_conforms() {
    holds(&model::serve(None).target, &all_cases());
}

/// A service with one fault, and cases that must fail against it.
macro_rules! broken_test {
    ($name:ident, $fault:ident, $($case:literal),+) => {
        #[test]
        fn $name() {
            caught(Fault::$fault, &[$($case),+]);
        }
    };
}

fn caught(fault: Fault, names: &[&str]) {
    let cases: Vec<Case> =
        all_cases().into_iter().filter(|case| names.contains(&case.name.as_str())).collect();
    assert_eq!(cases.len(), names.len(), "each of {names:?} is a case");
    let sound = model::serve(None);
    if fault == Fault::MappedNotUnwrapped
        && sound.target.doors.dual.is_none()
        && without_ipv6().is_ok()
    {
        return;
    }
    // What fails without the fault as well, on a machine that is slow or otherwise odd, notices nothing.
    let report = run(&sound.target, &cases);
    assert!(report.failed.is_empty(), "without {fault:?}: {report}");
    let report = run(&model::serve(Some(fault)).target, &cases);
    println!("{fault:?}: {report}");
    assert_eq!(report.passed, 0, "{fault:?} was not noticed: {report}");
    let is_silence = |failure: &Failure| failure.why.contains(NO_ANSWER);
    assert!(!report.failed.iter().any(is_silence), "{report}");
}

// B8
broken_test!(
    a_check_after_extraction,
    CheckAfterExtraction,
    "bad JSON is 401 without a good key",
    "a wrong content type is 401 without a good key"
);

// B2
broken_test!(
    the_first_of_two_headers,
    FirstOfTwoHeaders,
    "a repeated header is 400 where nothing else is enabled"
);

// B3
broken_test!(
    empty_is_nothing,
    EmptyIsNothing,
    "an X-API-Key that is empty is 401",
    "an optional route passes nothing and refuses what is bad"
);

// B10
broken_test!(an_underscore_is_a_hyphen, UnderscoreIsHyphen, "X_API_Key is not a credential");

// B1
broken_test!(
    the_query_although_not_enabled,
    QueryNotEnabled,
    "a key in the query is nothing where it is not enabled"
);

// B2
broken_test!(
    the_query_as_a_form,
    QueryAsForm,
    "a repeated query parameter is 400, however its name is encoded"
);

// B6
broken_test!(decoding_twice, DecodedTwice, "percent-encoding is decoded, once");

// A8
broken_test!(keys_in_any_case, CaseInsensitiveKeys, "every key that is not good is 401");

// A3
broken_test!(the_checksum_as_proof, ChecksumAsProof, "every key that is not good is 401");

// B9
broken_test!(an_error_on_odd_bytes, ErrorOnOddBytes, "every byte within a key in X-API-Key");

// B3
broken_test!(
    an_optional_route_for_bad_keys,
    OptionalLetsBadIn,
    "an optional route passes nothing and refuses what is bad"
);

// C3
broken_test!(
    the_leftmost_forwarded_for,
    LeftmostForwardedFor,
    "the leftmost hop is anybody's to write",
    "nothing to the left of the caller changes the result"
);

// C3
broken_test!(
    the_first_line_of_forwarded_for,
    FirstForwardedForLine,
    "the hop to the right of the trusted ones is the caller"
);

// C1
broken_test!(
    forwarded_for_without_proxies,
    ForwardedForWithoutProxies,
    "without trusted proxies every forwarding header is ignored"
);

// C5
broken_test!(
    the_proxy_as_the_caller,
    ProxyIsTheCaller,
    "a trusted peer without the header is nobody"
);

// C4
broken_test!(
    an_unreadable_hop_skipped,
    UnreadableHopSkipped,
    "a hop that is the word unknown is nobody",
    "a hop that is octal is nobody"
);

// C6
broken_test!(other_headers_believed, OtherHeadersBelieved, "only the configured header is read");

// C8
broken_test!(addresses_as_text, AddressesAsText, "an address is compared as a number");

// C7
broken_test!(
    mapped_addresses_not_unwrapped,
    MappedNotUnwrapped,
    "an IPv4 caller of a listener on [::] is IPv4"
);

// C11
broken_test!(
    the_wildcard_by_contains,
    WildcardByContains,
    "0.0.0.0 alone is any address, 0.0.0.0/0 any of IPv4, ::/0 any of IPv6"
);

// C12
broken_test!(
    an_unreadable_rule_ignored,
    UnreadableRuleIgnored,
    "every key that is not good is 401"
);

// D2
broken_test!(a_status_by_reason, StatusByReason, "every invalid key gets the same bytes");

// D2
broken_test!(a_body_by_reason, BodyByReason, "every invalid key gets the same bytes");

// D2
broken_test!(a_header_by_reason, HeaderByReason, "every invalid key gets the same bytes");

// D1
broken_test!(no_challenge, NoChallenge, "nothing presented", "a key that is not good");

// D4
broken_test!(the_key_echoed, KeyEchoed, "nothing of the request is echoed");

// D5
broken_test!(
    stored_by_anyone,
    StoredByAnyone,
    "a guarded answer is private and says what was consulted"
);

// D3
broken_test!(a_table_away_is_401, AwayIsUnauthorized, "a key table that is away");

// D3
broken_test!(a_table_away_lets_in, AwayLetsIn, "a key table that is away");

// E5
broken_test!(expiry_on_load_only, ExpiryOnLoadOnly, "a key ends at its very moment, warm and cold");

// E5
broken_test!(expiry_in_seconds, ExpiryInSeconds, "a key ends at its very moment, warm and cold");

// D1
broken_test!(
    any_scope_for_all,
    AnyScopeForAll,
    "all of the scopes are needed where all are asked for"
);

// D1
broken_test!(a_scope_by_substring, ScopeBySubstring, "a scope is a whole word");

// B11
broken_test!(
    a_guard_by_path_prefix,
    GuardByPathPrefix,
    "encoded letter: /%67uarded",
    "encoded folder: /%66iles/public"
);

// B14
broken_test!(
    a_connection_that_remembers,
    ConnectionRemembers,
    "a good key does not stay with its connection",
    "requests in one write are judged one by one"
);

// B12
broken_test!(head_unguarded, HeadUnguarded, "HEAD is guarded");

// B12
broken_test!(options_unguarded, OptionsUnguarded, "OPTIONS is guarded");

// B14
broken_test!(upgrades_unjudged, UpgradeUnjudged, "a WebSocket upgrade is judged before 101");

// B12
broken_test!(
    the_guard_outside_of_cors,
    GuardOutsideCors,
    "with CORS a preflight needs no key and runs nothing",
    "refusals carry the headers of the CORS around them"
);
