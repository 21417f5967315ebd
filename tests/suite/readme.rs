//! The README: its commands run, its code is that of an example, and its links are valid.

use std::{fs, net::TcpListener};

use crate::{
    examples::{Example, paste_lines, shell},
    support::{
        Database, http, markdown,
        programs::{command, example, root},
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

/// Runs every shell block in order. Only the port is changed.
#[test]
fn its_commands_run() {
    let mut commands = blocks_in("sh").into_iter();
    let mut next = || commands.next().unwrap();
    let database = Database::sqlite();

    let line = next();
    assert_eq!(line, "cargo run --example cakes\n");
    example("cakes");
    let cakes = served(line, &database, "127.0.0.1:0");
    let printed = cakes.wait_until_printed("cargo app-key issue");
    assert_eq!(paste_lines(&printed), [200, 401, 201, 201, 401, 200, 200], "{printed}");
    let another = printed.lines().find(|line| line.starts_with("cargo app-key issue")).unwrap();
    let key = shell(another, &[("DATABASE_URL", database.url())]);
    assert_eq!(http::get_with(cakes.address(), "/version", key.trim_end()).status, 200);
    drop(cakes);

    let line = next();
    assert_eq!(line, "cargo run --example hello\n");
    example("hello");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let database = Database::sqlite();
    let hello = served(line, &database, &address.to_string());
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let lines = next().replace("127.0.0.1:8080", &address.to_string());
    let shown = shell(&lines, &[("DATABASE_URL", database.url())]);
    assert_eq!(shown, "Hello, me.\n");
    assert_eq!(http::get(address, "/me", &[]).status, 401);
    assert_eq!(http::get(address, "/", &[]).status, 200);
    drop(hello);

    // This command runs this very test. `tests/run --help` shows that it exists and has the option.
    assert_eq!(next(), "tests/run --install\n");
    assert!(shell("tests/run --help", &[]).contains("--install"));

    assert_eq!(commands.next(), None, "a command that is not run");
}

fn served(line: &str, database: &Database, bind: &str) -> Example {
    Example::spawn(
        command("bash")
            .args(["-c", &format!("exec {line}")])
            .current_dir(root())
            .env("DATABASE_URL", database.url())
            .env("BIND", bind)
            .env("RUST_LOG", "trace"),
    )
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

#[test]
fn the_files_that_documents_link_to_exist() {
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("https://")) {
            assert!(root().join(link).exists(), "{name} links to {link}");
        }
    }
}
