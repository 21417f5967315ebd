//! The README: its commands run, its code is that of an example, and its links are valid.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    examples::{Example, shell},
    support::{
        Database, http, markdown,
        programs::{example, root},
    },
};

const README: &str = include_str!("../../README.md");
const HELLO: &str = include_str!("../../examples/hello/main.rs");

fn blocks_in(language: &str) -> Vec<&'static str> {
    markdown::blocks_in(README, language)
}

#[test]
fn its_code_is_the_example_hello() {
    assert_eq!(blocks_in("rust,no_run"), [HELLO]);
}

/// Runs the only shell block of the README, unchanged except for the port.
#[test]
fn its_commands_run() {
    let [commands] = blocks_in("sh")[..] else { panic!("not one block for the shell") };
    assert!(markdown::spans(README).contains(&"cargo run --example hello"));
    let database = Database::sqlite();
    let address = free_address();
    let _hello = Example::spawn(
        example("hello").env("DATABASE_URL", database.url()).env("BIND", address.to_string()),
    );
    while TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    let lines = commands.replace("127.0.0.1:8080", &address.to_string());
    let printed = shell(&format!("{lines}echo \"$KEY\""), &[("DATABASE_URL", database.url())]);
    assert!(printed.starts_with("Hello, me.\n"), "{printed}");
    let key = printed.lines().last().unwrap();
    // Another process revoked the key. The service rejects the key within the bound, and usually
    // within milliseconds.
    let revoked = Instant::now();
    while http::get_with(address, "/me", key).status != 401 {
        assert!(revoked.elapsed() < Duration::from_secs(5), "the key is still accepted");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(http::get(address, "/me", &[]).status, 401);
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs the key commands in the text, in their order.
#[test]
fn its_commands_for_keys_succeed() {
    let database = Database::sqlite();
    let commands: Vec<&str> = markdown::spans(README)
        .into_iter()
        .filter(|span| span.starts_with("cargo app-key "))
        .collect();
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands {
        shell(&command.replace("COMMENT", "'floor 3'"), &[("DATABASE_URL", database.url())]);
    }
}

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "COMPARE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "tests/benches/README.md",
    ".github/pull_request_template.md",
];

#[test]
fn the_files_that_documents_link_to_exist() {
    for name in DOCUMENTS {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let folder = root().join(Path::new(name).parent().unwrap());
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let own = root().join(name);
            let file = if file.is_empty() { own } else { folder.join(file) };
            assert!(file.exists(), "{name} links to {link}");
            if !section.is_empty() {
                let text = fs::read_to_string(file).unwrap();
                assert!(sections(&text).any(|own| own == section), "{name} links to {link}");
            }
        }
    }
}

/// Returns the anchors that forges give to the headings of a text.
fn sections(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let name = line.trim_start_matches('#').trim().to_lowercase();
        let name = name.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        name.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
