//! What must be true of the code itself and of what it depends on.

use std::{fs, path::PathBuf};

use crate::support::programs::{cargo, root};

/// The packages that are published.
const PACKAGES: [&str; 3] = ["api-key-macros", "api-key-runtime", "api-key-runtime/cli"];

/// Every source file of the product, with its path.
fn key_locations() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> = PACKAGES.map(|package| root().join(package).join("src")).into();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(files.len() > 30, "the key_locations are elsewhere");
    files
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

// C2
#[test]
fn nothing_believes_actix_s_connection_info() {
    for (path, text) in key_locations() {
        for line in text.lines() {
            for leftmost in ["connection_info", "ConnectionInfo", "realip_remote_addr"] {
                assert!(!code(line).contains(leftmost), "{}: {line}", path.display());
            }
        }
    }
}

// A14
#[test]
fn the_library_registers_no_route() {
    for (path, text) in key_locations() {
        // What tests are given calls routes and has none; unit tests have what they need.
        let is_for_tests = ["test_util", "route_audit", "tests.rs"]
            .iter()
            .any(|name| path.components().any(|part| part.as_os_str() == *name));
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in product.lines().filter(|_| !is_for_tests) {
            for registers in [
                "HttpServiceFactory",
                "ServiceConfig",
                "AppService",
                "web::resource(",
                "web::scope(",
                "web::route(",
                ".service(",
                ".route(",
                ".default_service(",
            ] {
                assert!(!code(line).contains(registers), "{}: {line}", path.display());
            }
        }
    }
}

/// The places that ARCHITECTURE.md lists, each with what it says they know nothing of.
fn walls() -> Vec<(String, Vec<String>)> {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = map.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let unknown: Vec<String> = cells[3].split(", ").map(str::to_owned).collect();
        let places = cells[1].split(", ").map(|place| place.replace('`', ""));
        places.map(|place| (place, unknown.clone())).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn each_place_knows_nothing_of_what_the_map_says() {
    let product = root().join("api-key-runtime/src");
    let mut seen = 0;
    for (place, unknown) in walls() {
        let package = root().join(&place);
        let (file, folder) = (product.join(format!("{place}.rs")), product.join(&place));
        assert!(file.exists() || folder.exists() || package.exists(), "{place} is not there");
        for (path, text) in key_locations() {
            if path != file && !path.starts_with(&folder) && !path.starts_with(&package) {
                continue;
            }
            seen += 1;
            for (name, words) in [
                ("HTTP", &["actix_web", "actix_http"][..]),
                ("SQL", &["diesel::", "diesel_migrations"]),
                ("policy", &["Policy", "policy::"]),
            ] {
                for line in text.lines().filter(|_| unknown.iter().any(|un| un == name)) {
                    let found = words.iter().any(|word| code(line).contains(word));
                    assert!(!found, "{} knows {name}: {line}", path.display());
                }
            }
        }
    }
    assert!(seen > 60, "the map shows few of the key_locations: {seen}");
}

// H1
#[test]
fn unsafe_code_is_forbidden_and_what_can_panic_is_denied() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    for file in [
        "api-key-macros/src/lib.rs",
        "api-key-runtime/src/lib.rs",
        "api-key-runtime/cli/src/main.rs",
    ] {
        assert!(read(file).contains("#![forbid(unsafe_code)]"), "{file}");
    }
    for file in ["api-key-runtime/src/lib.rs", "api-key-runtime/cli/src/main.rs"] {
        let text = read(file);
        let denied = &text[text.find("#![deny(").unwrap()..];
        let denied = &denied[..denied.find(")]").unwrap()];
        for lint in [
            "unwrap_used",
            "expect_used",
            "panic",
            "unreachable",
            "indexing_slicing",
            "string_slice",
        ] {
            assert!(denied.contains(&format!("clippy::{lint}")), "{file} does not deny {lint}");
        }
    }
    // Only tests, and what fails by panicking because it is a suite of tests, are let off.
    for (path, text) in key_locations() {
        let is_for_tests = ["test_util", "tests", "tests.rs", "fuzz.rs"]
            .iter()
            .any(|name| path.components().any(|part| part.as_os_str() == *name));
        // An attribute may stand on several lines.
        let text: String = text.lines().map(code).map(str::trim).collect();
        let let_off: Vec<&str> = text
            .split("allow(")
            .skip(1)
            .zip(text.split("allow("))
            .filter(|(_, before)| !before.trim_end().ends_with("cfg_attr(test,"))
            .map(|(allowed, _)| allowed.split(')').next().unwrap())
            .collect();
        for lint in [
            "clippy::unwrap_used",
            "clippy::expect_used",
            "clippy::panic",
            "clippy::indexing_slicing",
        ] {
            let is_let_off = let_off.iter().any(|allowed| allowed.contains(lint));
            assert!(is_for_tests || !is_let_off, "{} allows {lint}", path.display());
        }
    }
}

// H2
#[test]
fn actix_web_comes_without_http2_and_deny_toml_judges_what_it_brings() {
    let tree = cargo()
        .args([
            "tree",
            "--locked",
            "--package",
            "api-key-runtime",
            "--all-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.lines().any(|line| line.starts_with("actix-web v4.")), "{tree}");
    for unwanted in ["h2 v", "actix-governor v", "actix-tls v"] {
        assert!(!tree.lines().any(|line| line.starts_with(unwanted)), "{unwanted}");
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for bound in [
        "actix-web = { version = \"4.18\", default-features = false",
        // Request smuggling and Host handling; five advisories of Diesel in 2026.
        "actix-http = { version = \"3.19\"",
        "diesel = { version = \"2.3.14\"",
    ] {
        assert!(manifest.contains(bound), "{bound}");
    }
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    for section in ["[advisories]", "[licenses]", "[bans]", "[key_locations]"] {
        assert!(deny.contains(section), "{section}");
    }
}
