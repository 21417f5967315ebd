//! The README: its commands run, its code is that of an example, and its links are valid.

use std::{fs, path::Path};

use crate::{
    examples::{run_beside_hello, shell},
    support::{Database, markdown, programs::root},
};

const README: &str = include_str!("../../README.md");
const HELLO: &str = include_str!("../../examples/hello/main.rs");

fn blocks_in(language: &str) -> Vec<&'static str> {
    markdown::blocks_in(README, language)
}

/// The README shows the handler and the setup; the example has these lines in this order.
#[test]
fn its_code_is_from_the_example_hello() {
    let [block] = blocks_in("rust")[..] else { panic!("not one block of Rust") };
    let mut example = HELLO.lines().map(str::trim);
    let is_comment = |line: &&str| line.starts_with("//");
    let shown: Vec<&str> = block.lines().map(str::trim).filter(|line| !is_comment(line)).collect();
    assert!(shown.contains(&"#[require_app_key]") && shown.len() >= 7, "{block}");
    for line in shown {
        assert!(
            example.any(|own| own == line),
            "the example hello does not have this line next: {line}"
        );
    }
}

/// Runs the only shell block of the README, unchanged except for the port.
#[test]
fn its_commands_run() {
    let [commands] = blocks_in("sh")[..] else { panic!("not one block for the shell") };
    assert!(markdown::spans(README).contains(&"cargo run --example hello"));
    let database = Database::sqlite();
    let run = |lines: &str| shell(lines, &[("DATABASE_URL", database.url())]);
    let printed = run_beside_hello(commands, &database, run);
    assert!(printed.starts_with("Hello, me.\n"), "{printed}");
}

/// Runs the `cargo app-key` commands of the text in their order.
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
