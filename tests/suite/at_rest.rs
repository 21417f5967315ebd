//! Keys at rest: which parts of a key are stored, and which are not.

use std::{collections::HashSet, fs, process::Command};

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{
    AppKeys, AppKeysBuilder, KeyLocation,
    admin::{IssuedKey, KeyFormat, KeySecret, ListKeys, NewKey},
    require_app_key,
    store::{KeyDigest, KeyStore},
    test_util::MemoryStore,
};

use crate::support::{
    Database, FakeChanges, FakeStore, Server, Tap, allocator, database_test, fixtures, hex, http,
    log,
    servers::postgres::{self, Postgres},
};

#[get("/cake")]
#[require_app_key]
async fn cake() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(cake);
}

const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";
const NEXT_PEPPER: &str = "Zk8rN2pQ7vX4cT1mY6wB3jH9sL5dF0gAeUoKiCnRxVE=";

fn new_key() -> NewKey {
    NewKey::new("pepper").allow_any()
}

fn issue(builder: AppKeysBuilder) -> Result<String, api_key_runtime::Error> {
    Ok(builder.build_admin()?.issue(&new_key())?.secret.expose_secret().to_owned())
}

fn status(builder: AppKeysBuilder, key: &str) -> u16 {
    http::get_with(Server::start(builder.build().unwrap(), routes).address, "/cake", key).status
}

/// Returns everything that the database has written: on Postgres a dump and the server's log, on
/// SQLite the bytes of its files.
fn all_that_was_written(database: &Database) -> Vec<u8> {
    if database.is_postgres() {
        let dump = Command::new(postgres::program("pg_dump"))
            .args(["--column-inserts", "--dbname", database.url()])
            .output()
            .unwrap();
        assert!(dump.status.success(), "{dump:?}");
        // All databases of the server share its log. The marker proves that the log contains the
        // statements of this database.
        let marker = format!("the last statement of {}", database.name());
        database.texts(&format!("SELECT '{marker}'"));
        let log = fs::read(Postgres::shared().log()).unwrap();
        assert!(String::from_utf8_lossy(&log).contains(&marker), "the server logs every statement");
        [dump.stdout, log].concat()
    } else {
        ["", "-wal", "-shm", "-journal"]
            .iter()
            .filter_map(|suffix| fs::read(format!("{}{suffix}", database.url())).ok())
            .flatten()
            .collect()
    }
}

// A4, B7
database_test!(the_database_never_writes_a_part_of_a_secret, |database: Database| {
    database.migrate();
    if database.is_postgres() {
        let name = database.url().rsplit_once('/').unwrap().1;
        database.execute(&format!("ALTER DATABASE {name} SET log_statement = 'all'; ALTER DATABASE {name} SET log_min_duration_statement = 0")).unwrap();
    }
    let server = Server::start(database.keys(), routes);
    let keys: Vec<String> = (0..20).map(|_| database.issue("0.0.0.0").0).collect();
    for key in &keys {
        assert_eq!(http::get_with(server.address, "/cake", key).status, 200);
    }
    let written = all_that_was_written(&database);
    let contains =
        |piece: &str| written.windows(piece.len()).any(|window| window == piece.as_bytes());
    assert!(contains(&keys[0][..12]), "the output has no hint, so it is incomplete");
    let pieces: HashSet<&[u8]> =
        keys.iter().flat_map(|key| key.as_bytes()["ak_live_".len()..].windows(8)).collect();
    assert!(
        !written.windows(8).any(|window| pieces.contains(window)),
        "8 characters of a secret were written"
    );
});

/// Returns whether these bytes contain any 8 successive characters of the key's body.
fn holds_a_piece(bytes: &[u8], key: &str) -> bool {
    let pieces: HashSet<&[u8]> = key.as_bytes()["ak_live_".len()..].windows(8).collect();
    bytes.windows(8).any(|window| pieces.contains(window))
}

// B7
#[test]
fn postgres_receives_only_the_digest_as_a_parameter() {
    let database = Database::postgres();
    database.migrate();
    let (credentials, place) = database.url().split_once('@').unwrap();
    let (server, name) = place.split_once('/').unwrap();
    let tap = Tap::start(server.parse().unwrap());
    let tapped = format!("{credentials}@{}/{name}?sslmode=disable", tap.address);
    let keys = AppKeys::builder().database_url(tapped).build().unwrap();
    let service = Server::start(keys.clone(), routes);
    let issued = keys.admin().unwrap().issue(&new_key()).unwrap();
    let key = issued.secret.expose_secret();
    let digest = issued.record.digest.as_bytes();
    let hex = hex(digest);
    for ask in [false, true] {
        if ask {
            tap.take();
            assert_eq!(http::get_with(service.address, "/cake", key).status, 200);
        }
        // A server with `log_statement = all` could log any of these bytes.
        let said = tap.take();
        assert!(!holds_a_piece(&said, key), "a piece of the key was sent");
        let text = String::from_utf8_lossy(&said).to_lowercase();
        assert!(!text.contains(&hex), "the digest was in the text of the statement");
        assert!(
            said.windows(32).any(|window| window == digest),
            "the digest was not sent as bytes"
        );
    }
}

// A7
#[test]
fn two_digests_that_differ_in_one_bit_are_two_keys() {
    // Returns records whose digest differs in one bit, as a faulty store could return.
    let one_bit_off = |bit: usize| {
        move |store: &dyn KeyStore, digests: &[KeyDigest]| {
            let mut found = store.find(digests)?;
            for record in &mut found {
                let mut bytes = *record.digest.as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                record.digest = KeyDigest::from_bytes(bytes);
            }
            Ok(found)
        }
    };
    let store = MemoryStore::default();
    let key = store.issue(&new_key()).unwrap().secret.expose_secret().to_owned();
    for bit in (0..256).step_by(17) {
        let fake = FakeStore::scripted(store.clone(), FakeChanges::Unsupported, one_bit_off(bit));
        let keys = AppKeys::builder().store(fake).build().unwrap();
        assert_eq!(
            http::get_with(Server::start(keys, routes).address, "/cake", &key).status,
            401,
            "bit {bit}"
        );
    }
}

// A5
database_test!(a_digest_a_hint_or_an_id_is_not_a_key, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let hex = if database.is_postgres() { "encode(digest, 'hex')" } else { "lower(hex(digest))" };
    let digest = database.texts(&format!("SELECT {hex} FROM api_keys")).remove(0);
    assert_eq!(digest.len(), 64);
    let server =
        Server::start(database.builder().accept_imported_keys(true).build().unwrap(), routes);
    for other in [
        digest.clone(),
        digest.to_uppercase(),
        key[..12].to_owned(),
        id.to_string(),
        "sha256".to_owned(),
    ] {
        assert_eq!(http::get_with(server.address, "/cake", &other).status, 401, "{other}");
    }
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 200);
});

// A8
database_test!(a_key_in_another_case_or_look_alike_letters_is_rejected, |database: Database| {
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    let flipped: String =
        key.chars()
            .map(|c| {
                if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
            })
            .collect();
    for other in [
        key.to_uppercase(),
        key.to_lowercase(),
        flipped,
        key.replace('a', "\u{430}"),
        format!("{key}\u{200b}"),
    ] {
        assert_eq!(http::get_with(server.address, "/cake", &other).status, 401, "{other}");
    }
});

// A8
database_test!(an_imported_key_in_other_case_or_spacing_is_rejected, |database: Database| {
    // Imported keys have no prefix and no checksum, so only the database lookup can reject a
    // variant.
    let keys = database
        .migrate()
        .builder()
        .accept_imported_keys(true)
        .key_locations([KeyLocation::header("X-API-Key"), KeyLocation::query("key")])
        .build()
        .unwrap();
    let issued = keys.admin().unwrap().issue(&new_key().format(KeyFormat::Uuid)).unwrap();
    let key = issued.secret.expose_secret();
    let server = Server::start(keys.clone(), routes);
    let status = |key: &str| http::get(server.address, &format!("/cake?key={key}"), &[]).status;
    assert_eq!(status(key), 200);
    let at = key.find(|c: char| c.is_ascii_lowercase()).unwrap();
    let one_letter = format!("{}{}{}", &key[..at], key[at..=at].to_uppercase(), &key[at + 1..]);
    for other in [
        key.to_uppercase(),
        one_letter,
        format!("{key}%20"),
        format!("%20{key}"),
        format!("{key}%00"),
        format!("{key}%c2%a0"),
        key.replace('-', "%e2%80%90"),
        key.replace('-', ""),
        format!("{{{key}}}"),
    ] {
        assert_eq!(status(&other), 401, "{other}");
    }
});

// A6
// Keys under the current and the previous pepper work. The previous pepper `none` stands for keys
// that were issued without a pepper.
database_test!(pepper_rotation_keeps_every_key_working, |database: Database| {
    database.migrate();
    let plain = issue(database.builder()).unwrap();
    let peppered = || database.builder().pepper(PEPPER).previous_pepper("none");
    assert_eq!(status(peppered(), &plain), 200, "a key from before the pepper");
    let second = issue(peppered()).unwrap();
    assert_eq!(status(peppered(), &second), 200);
    let next = || database.builder().pepper(NEXT_PEPPER).previous_pepper(PEPPER);
    assert_eq!(status(next(), &second), 200, "a key under the previous pepper");
    let third = issue(next()).unwrap();
    assert_eq!(status(next(), &third), 200);
    let algorithms = database.texts("SELECT digest_algorithm FROM api_keys ORDER BY id");
    assert_eq!(algorithms[0], "sha256");
    assert!(
        algorithms[1].starts_with("hmac-sha256:")
            && algorithms[2].starts_with("hmac-sha256:")
            && algorithms[1] != algorithms[2],
        "new keys do not use the current pepper: {algorithms:?}"
    );
    assert_eq!(
        status(next(), &plain),
        401,
        "keys under older peppers than the previous one are rejected"
    );
});

// A6
database_test!(a_service_with_another_pepper_refuses_to_start, |database: Database| {
    database.migrate();
    database.builder().pepper(PEPPER).build().unwrap();
    for builder in [
        database.builder(),
        database.builder().pepper(NEXT_PEPPER),
        database.builder().pepper(NEXT_PEPPER).previous_pepper("none"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains("APP_KEY_PEPPER_PREVIOUS"),
            "{error}"
        );
    }
    database.builder().pepper(PEPPER).build().unwrap();
});

// A6
database_test!(startup_warns_of_keys_that_match_no_configured_pepper, |database: Database| {
    database.migrate();
    issue(database.builder()).unwrap();
    database.builder().pepper(PEPPER).previous_pepper("none").build().unwrap();
    let place = if database.is_postgres() {
        database.url().rsplit_once('@').unwrap().1.to_owned()
    } else {
        database.url().to_owned()
    };
    let warnings = || {
        let lines = log::lines_with("1 active keys of");
        lines.iter().filter(|line| line.starts_with("WARN") && line.contains(&place)).count()
    };
    log::install();
    assert_eq!(warnings(), 0, "both algorithms are configured");
    database.builder().pepper(PEPPER).build().unwrap();
    assert_eq!(warnings(), 1);
});

// A6
database_test!(issuing_with_another_pepper_than_the_service_is_an_error, |database: Database| {
    database.migrate();
    database.builder().pepper(PEPPER).build().unwrap();
    for builder in [
        database.builder(),
        database.builder().pepper(NEXT_PEPPER),
        database.builder().pepper(NEXT_PEPPER).previous_pepper(PEPPER),
    ] {
        let error = issue(builder).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("APP_KEY_PEPPER"), "{error}");
    }
    assert!(database.rows().is_empty(), "nothing was issued");
    issue(database.builder().pepper(PEPPER)).unwrap();
});

// A6
#[test]
fn an_unusable_pepper_prevents_the_start() {
    let database = Database::sqlite();
    database.migrate();
    for bad in ["", "   ", "not base64!", "c2hvcnQ="] {
        assert!(database.builder().pepper(bad).build().unwrap_err().is_config(), "{bad:?}");
        assert!(database.builder().pepper(bad).build_admin().unwrap_err().is_config(), "{bad:?}");
        assert!(
            database.builder().pepper(PEPPER).previous_pepper(bad).build().unwrap_err().is_config(),
            "{bad:?}"
        );
    }
}

// A10
database_test!(a_key_is_shown_once_and_records_and_debug_show_id_and_hint, |database: Database| {
    let admin = database.admin();
    let issued = admin.issue(&new_key()).unwrap();
    let secret = issued.secret.expose_secret().to_owned();
    let shown = format!(
        "{issued:?} {:?} {:?} {admin:?}",
        admin.list(&ListKeys::new()).unwrap(),
        admin.get(issued.record.id).unwrap()
    );
    let body = &secret["ak_live_".len()..];
    for piece in (0..=body.len() - 8).map(|start| &body[start..start + 8]) {
        assert!(!shown.contains(piece), "{shown}");
    }
    assert_eq!(issued.record.hint, secret[..12]);
    let digest = issued.record.digest.as_bytes();
    assert!(!shown.contains(&format!("{digest:?}")), "a digest is shown");
});

// A12
database_test!(a_fresh_installation_accepts_no_key, |database: Database| {
    let server = Server::start(database.keys(), routes);
    assert!(database.rows().is_empty());
    for key in [
        fixtures::unknown().as_str(),
        "ak_live_",
        "admin",
        "test",
        "edd1c9f034335f136f87ad84b625c8f1",
        "",
    ] {
        assert_eq!(http::get_with(server.address, "/cake", key).status, 401, "{key}");
    }
});

// A13
#[test]
fn the_memory_of_a_secret_is_overwritten_when_it_is_dropped() {
    let store = MemoryStore::default();
    for _ in 0..20 {
        let watched = allocator::watch_for("ak_live_", || {
            let issued = store.issue(&new_key()).unwrap();
            assert!(issued.secret.expose_secret().starts_with("ak_live_"));
        });
        // The allocator counts a freed block only if more text follows the prefix, so a prefix
        // alone is not counted.
        assert_eq!(watched.freed_with_needle, 0, "freed memory still contained a key");
        assert!(watched.freed > 0, "the allocator records freed memory");
    }
    let kept = allocator::watch_for("ak_live_", || {
        drop(std::hint::black_box("ak_live_".repeat(8)));
    });
    assert_eq!(kept.freed_with_needle, 1, "the allocator finds text that is not overwritten");
}

// A13
#[test]
fn a_secret_can_be_neither_cloned_nor_displayed_nor_serialised() {
    // If `KeySecret` or `IssuedKey` implemented one of these traits, two implementations of
    // `Absent` would apply. The call would then be ambiguous and would not compile.
    trait Absent<Marker> {
        fn check() {}
    }
    struct Clonable;
    struct Displayed;
    struct Serialised;
    impl<T: ?Sized> Absent<()> for T {}
    impl<T: Clone> Absent<Clonable> for T {}
    impl<T: std::fmt::Display> Absent<Displayed> for T {}
    impl<T: serde::Serialize> Absent<Serialised> for T {}
    <KeySecret as Absent<_>>::check();
    <IssuedKey as Absent<_>>::check();
}

// A13
#[test]
fn debug_of_the_settings_shows_neither_pepper_nor_password() {
    let builder = || {
        AppKeys::builder()
            .database_url("postgres://cakes:s3cret-word@localhost/cakes")
            .pepper(PEPPER)
            .previous_pepper(NEXT_PEPPER)
    };
    let database = Database::sqlite();
    database.migrate();
    let keys = database.builder().pepper(PEPPER).build().unwrap();
    let shown = format!(
        "{:?} {:?} {keys:?} {:?}",
        builder(),
        builder().build_admin().unwrap(),
        keys.admin().unwrap()
    );
    for secret in [&PEPPER[..8], &NEXT_PEPPER[..8], "s3cret-word"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
