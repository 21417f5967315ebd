//! Where the caller comes from.

use std::{net::SocketAddr, time::Instant};

use actix_web::{App, HttpResponse, get, http::StatusCode, rt::System, test, web};
use api_key_runtime::{AppKey, AppKeys, require_app_key};

use crate::support::{Database, Server, database_test, http, log, refused_in_time};

#[get("/from")]
#[require_app_key]
async fn from(key: AppKey) -> HttpResponse {
    HttpResponse::Ok()
        .body(key.client_ip().map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()))
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(from);
}

/// What a caller from this address is answered: in process, because loopback has one address.
fn answer(keys: &AppKeys, peer: Option<&str>, key: &str) -> (StatusCode, String) {
    forwarded(keys, peer, key, &[])
}

/// What a caller is answered behind this peer, with these header lines.
fn forwarded(
    keys: &AppKeys,
    peer: Option<&str>,
    key: &str,
    lines: &[(&str, &str)],
) -> (StatusCode, String) {
    System::new().block_on(async {
        let app = test::init_service(App::new().app_data(keys.clone()).configure(routes)).await;
        let mut request = test::TestRequest::get().uri("/from").insert_header(("X-API-Key", key));
        for line in lines {
            request = request.append_header(*line);
        }
        if let Some(peer) = peer {
            request = request.peer_addr(SocketAddr::new(peer.parse().unwrap(), 1234));
        }
        let response = test::call_service(&app, request.to_request()).await;
        let status = response.status();
        (status, String::from_utf8(test::read_body(response).await.to_vec()).unwrap())
    })
}

fn is_let_in(keys: &AppKeys, peer: Option<&str>, key: &str) -> bool {
    let (status, _) = answer(keys, peer, key);
    assert!(matches!(status.as_u16(), 200 | 401), "{status}");
    status == 200
}

// C1, C6
database_test!(the_address_is_the_peer_s_and_no_header_changes_it, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let (elsewhere, _) = database.issue("203.0.113.7");
    let (here, _) = database.issue("127.0.0.1");
    let spoofs = [
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-For: 203.0.113.7, 127.0.0.1",
        "Forwarded: for=203.0.113.7",
        "X-Real-IP: 203.0.113.7",
        "CF-Connecting-IP: 203.0.113.7",
        "True-Client-IP: 203.0.113.7",
        "X-Client-IP: 203.0.113.7",
        "X-Cluster-Client-IP: 203.0.113.7",
        "Client-IP: 203.0.113.7",
        "Via: 203.0.113.7",
        "X-Forwarded-Host: 203.0.113.7",
    ];
    for spoof in spoofs {
        assert_eq!(
            http::get(server.address, "/from", &[&format!("X-API-Key: {elsewhere}"), spoof]).status,
            401,
            "{spoof}"
        );
        let answer = http::get(server.address, "/from", &[&format!("X-API-Key: {here}"), spoof]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "127.0.0.1"), "{spoof}");
    }
});

// C7, C8
database_test!(addresses_are_compared_as_numbers_and_mapped_ones_as_ipv4, |database: Database| {
    let keys = database.keys();
    let (v4, _) = database.issue("203.0.113.7");
    let (v6, _) = database.issue("2001:db8::1");
    let (network, _) = database.issue("10.0.0.0/8 2001:db8:1::/48");
    assert!(is_let_in(&keys, Some("203.0.113.7"), &v4));
    assert_eq!(
        answer(&keys, Some("::ffff:203.0.113.7"), &v4),
        (StatusCode::OK, "203.0.113.7".to_owned())
    );
    for other in ["203.0.113.70", "203.0.113.17", "20.3.0.113", "2001:db8::1", "::203.0.113.7"] {
        assert!(!is_let_in(&keys, Some(other), &v4), "{other}");
    }
    assert!(is_let_in(&keys, Some("2001:0db8:0:0:0:0:0:1"), &v6));
    assert!(!is_let_in(&keys, Some("2001:db8::10"), &v6));
    for (peer, inside) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("::ffff:10.0.0.1", true),
        ("2001:db8:1:ffff::9", true),
        ("2001:db8:2::", false),
    ] {
        assert_eq!(is_let_in(&keys, Some(peer), &network), inside, "{peer}");
    }
});

// C11, C13
database_test!(the_literal_0_0_0_0_alone_is_any_address_of_both_families, |database: Database| {
    let keys = database.keys();
    let (any, _) = database.issue("0.0.0.0");
    let (any_v4, _) = database.issue("0.0.0.0/0");
    let (any_v6, _) = database.issue("::/0");
    for (peer, by_v4, by_v6) in [
        (Some("203.0.113.7"), true, false),
        (Some("2001:db8::1"), false, true),
        (Some("::ffff:10.0.0.1"), true, false),
        (None, false, false),
    ] {
        assert!(is_let_in(&keys, peer, &any), "{peer:?}");
        assert_eq!(is_let_in(&keys, peer, &any_v4), by_v4, "{peer:?}");
        assert_eq!(is_let_in(&keys, peer, &any_v6), by_v6, "{peer:?}");
    }
});

// C11, C12
database_test!(
    a_rule_that_is_empty_or_unreadable_in_the_table_admits_nobody,
    |database: Database| {
        let keys = database.keys();
        let rules = [
            "",
            "::ffff:0.0.0.0",
            "0.0.0.0 127.0.0.1",
            "127.0.0.1 junk",
            "127.0.0.1/8",
            "127.000.000.001",
            "127.0.0.1,127.0.0.1",
            " 127.0.0.1",
            "::",
        ];
        for rule in rules {
            let (key, id) = database.issue("127.0.0.1");
            assert!(is_let_in(&keys, Some("127.0.0.1"), &key));
            database
                .execute(&format!("UPDATE api_keys SET allowed_ips = '{rule}' WHERE id = {id}"))
                .unwrap();
            refused_in_time(rule, Instant::now(), 401, || {
                if is_let_in(&keys, Some("127.0.0.1"), &key) { 200 } else { 401 }
            });
            assert!(!is_let_in(&keys, None, &key), "{rule:?}");
        }
    }
);

// C12
database_test!(a_rule_that_cannot_be_read_is_logged_as_an_error, |database: Database| {
    let keys = database.keys();
    let _server = Server::start(keys.clone(), routes);
    let (key, id) = database.issue("127.0.0.1");
    let rule = if database.is_postgres() {
        "127.0.0.1 junk-on-postgres"
    } else {
        "127.0.0.1 junk-on-sqlite"
    };
    database
        .execute(&format!("UPDATE api_keys SET allowed_ips = '{rule}' WHERE id = {id}"))
        .unwrap();
    assert!(!is_let_in(&keys, Some("127.0.0.1"), &key));
    let lines = log::lines_with(rule);
    assert!(
        lines.iter().any(|line| line.starts_with("ERROR") && line.contains(&format!("key {id} "))),
        "{lines:?}"
    );
});

// C3, C4, C5, C6
database_test!(
    behind_trusted_proxies_the_first_untrusted_hop_is_the_caller,
    |database: Database| {
        database.migrate();
        let keys = database.builder().trusted_proxies(["10.0.0.5", "10.0.1.0/24"]).build().unwrap();
        let (any, _) = database.issue("0.0.0.0");
        let (bound, _) = database.issue("203.0.113.7");
        let (to_proxy, _) = database.issue("10.0.0.5");
        let header = "X-Forwarded-For";
        let proxy = Some("10.0.0.5");
        let ok = |caller: &str| (StatusCode::OK, caller.to_owned());
        for lines in [
            vec![(header, "203.0.113.7")],
            vec![(header, "198.51.100.1"), (header, "203.0.113.7, 10.0.1.2")],
            vec![(header, "junk,203.0.113.7:4711")],
        ] {
            assert_eq!(forwarded(&keys, proxy, &bound, &lines), ok("203.0.113.7"), "{lines:?}");
            assert_eq!(
                forwarded(&keys, Some("10.0.2.5"), &any, &lines),
                ok("10.0.2.5"),
                "not a trusted peer"
            );
            assert_eq!(
                forwarded(&keys, Some("10.0.2.5"), &bound, &lines).0,
                401,
                "not a trusted peer"
            );
        }
        let unknown = [
            vec![],
            vec![(header, "203.0.113.7, unknown")],
            vec![(header, "203.0.113.7,")],
            vec![(header, "10.0.1.2")],
            vec![("Forwarded", "for=203.0.113.7")],
            vec![("X-Real-IP", "203.0.113.7")],
            vec![("CF-Connecting-IP", "203.0.113.7")],
        ];
        for lines in unknown {
            assert_eq!(forwarded(&keys, proxy, &bound, &lines).0, 401, "{lines:?}");
            assert_eq!(
                forwarded(&keys, proxy, &to_proxy, &lines).0,
                401,
                "the proxy's own address is nobody's: {lines:?}"
            );
            assert_eq!(forwarded(&keys, proxy, &any, &lines), ok("unknown"), "{lines:?}");
        }
    }
);

// C13
database_test!(a_listener_without_peer_addresses_can_be_declared_a_proxy, |database: Database| {
    database.migrate();
    let (any, _) = database.issue("0.0.0.0");
    let (bound, _) = database.issue("203.0.113.7");
    let line = [("X-Forwarded-For", "203.0.113.7")];
    let undeclared = database.builder().build().unwrap();
    assert_eq!(forwarded(&undeclared, None, &bound, &line).0, 401);
    assert_eq!(forwarded(&undeclared, None, &any, &line), (StatusCode::OK, "unknown".to_owned()));
    let declared = database.builder().trusted_proxies(["unix"]).build().unwrap();
    assert_eq!(forwarded(&declared, None, &bound, &line).0, 200);
    assert_eq!(forwarded(&declared, None, &bound, &[]).0, 401);
});

// C15
#[::core::prelude::v1::test]
fn trusting_everybody_refuses_to_start() {
    let database = Database::sqlite();
    database.migrate();
    for wide in ["0.0.0.0/0", "10.0.0.0/7", "::/0", "junk"] {
        assert!(
            database.builder().trusted_proxies([wide]).build().unwrap_err().is_config(),
            "{wide}"
        );
    }
    assert!(
        database.builder().forwarded_header("X-Real-IP").build().unwrap_err().is_config(),
        "a header nobody is trusted to write"
    );
}

// C3
#[::core::prelude::v1::test]
fn a_bound_key_refused_behind_an_untrusted_private_peer_hints_at_a_proxy_once() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (bound, _) = database.issue("203.0.113.7");
    crate::support::log::install();
    let hints = || {
        crate::support::log::lines_with("refused to 192.168.77.1, which is a private address").len()
    };
    for _ in 0..3 {
        forwarded(&keys, Some("192.168.77.1"), &bound, &[("X-Forwarded-For", "203.0.113.7")]);
    }
    assert_eq!(hints(), 1);

    let told = (database.builder().trusted_proxies(["192.168.78.1"])).build().unwrap();
    let caller = [("X-Forwarded-For", "192.168.79.5")];
    forwarded(&told, Some("192.168.78.1"), &bound, &caller);
    let lines = |text: &str| crate::support::log::lines_with(text).len();
    assert_eq!(lines("trying to use API: 192.168.79.5 (wrong address"), 1);
    assert_eq!(lines("refused to 192.168.79.5"), 0, "it was told of the proxy");
}
