//! Rules for the source code and its dependencies.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::PathBuf,
};

use crate::support::programs::{cargo, root};

/// The published packages.
const PACKAGES: [&str; 3] = ["api-key-macros", "api-key-runtime", "api-key-runtime/cli"];

/// Returns every source file of the product with its path.
pub(crate) fn source_files() -> Vec<(PathBuf, String)> {
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
    assert!(files.len() > 30, "the source files are elsewhere");
    files
}

/// Returns the code of a line without its comment.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Returns the text of a file without the unit tests at its end.
pub(crate) fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

/// Returns the rooms (top-level modules) of `api-key-runtime`, each with its row number in the
/// table of ARCHITECTURE.md.
fn rooms() -> HashMap<String, usize> {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = map.split_once("\n## Rooms, top down\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut rooms = HashMap::new();
    for (row, line) in rows.enumerate() {
        for room in line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            assert!(rooms.insert(room.to_owned(), row).is_none(), "{room} is in two rows");
        }
    }
    rooms
}

/// Returns the names that follow `crate::` in this code, alone or in a group.
fn imports(code: &str) -> BTreeSet<&str> {
    fn name(path: &str) -> &str {
        let path = path.trim_start();
        path.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap()
    }
    let mut names = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            names.insert(name(after));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.insert(name(&group[start..at]));
                    start = at + 1;
                    if character == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names.remove("");
    names
}

/// A room imports only from its own row of the table and from lower rows, so there is no import
/// cycle between rows.
#[test]
fn rooms_import_only_from_rooms_below_them() {
    let rooms = rooms();
    let source = root().join("api-key-runtime/src");
    let mut with_files = BTreeSet::new();
    let mut faults = Vec::new();
    for (path, text) in source_files() {
        let Ok(file) = path.strip_prefix(&source) else { continue };
        let room = file.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if !["lib", "guide"].contains(&room) {
            with_files.insert(room.to_owned());
        }
        let is_exempt = ["lib", "guide", "fuzz"].contains(&room)
            || file.ends_with("tests.rs")
            || file.starts_with("cache/model");
        if is_exempt {
            continue;
        }
        let lines: Vec<&str> = product(&text).lines().map(code).collect();
        for imported in imports(&lines.join("\n")) {
            let file = file.display();
            match (rooms.get(room), rooms.get(imported)) {
                (Some(own), Some(other)) if other < own => faults
                    .push(format!("room {room} ({file}) imports {imported}, which is above it")),
                (Some(_), None) => {
                    faults.push(format!(
                        "room {room} ({file}) imports {imported}, which is not a room"
                    ));
                }
                _ => {}
            }
        }
    }
    assert!(faults.is_empty(), "see the table in ARCHITECTURE.md\n{}", faults.join("\n"));
    let in_table: BTreeSet<String> = rooms.into_keys().collect();
    assert_eq!(in_table, with_files, "the rooms in ARCHITECTURE.md differ from those in the code");
}

// A14
#[test]
fn the_library_registers_no_route() {
    for (path, text) in source_files() {
        // Code for tests registers the routes of applications under test, and unit tests register
        // their own.
        let is_for_tests = ["test_util", "route_audit", "tests.rs"]
            .iter()
            .any(|name| path.components().any(|part| part.as_os_str() == *name));
        for line in product(&text).lines().filter(|_| !is_for_tests) {
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

// H1
#[test]
fn unsafe_code_is_forbidden_and_panics_are_denied() {
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
    // Test code is exempt, since it reports failures by panicking.
    for (path, text) in source_files() {
        let is_for_tests = ["test_util", "tests", "tests.rs", "fuzz.rs"]
            .iter()
            .any(|name| path.components().any(|part| part.as_os_str() == *name));
        // An attribute may span several lines.
        let text: String = text.lines().map(code).map(str::trim).collect();
        let exempt: Vec<&str> = text
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
            let is_exempt = exempt.iter().any(|allowed| allowed.contains(lint));
            assert!(is_for_tests || !is_exempt, "{} allows {lint}", path.display());
        }
    }
}

// H2
#[test]
fn actix_web_comes_without_http2() {
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
}
