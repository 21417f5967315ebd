//! The README: its commands are run, its code is that of the example, and what it names is there.

use std::{collections::BTreeSet, fs, net::TcpListener};

use crate::{
    examples::{Example, assert_no_piece_of, paste_lines, shell},
    support::{
        Database, http, markdown,
        programs::{cargo, command, example, root},
    },
};

const README: &str = include_str!("../../README.md");
const HELLO: &str = include_str!("../../examples/hello/main.rs");

fn blocks_in(language: &str) -> Vec<&'static str> {
    markdown::blocks_in(README, language)
}

#[test]
fn its_blocks_are_of_the_kinds_that_are_tried() {
    assert_eq!(markdown::kinds(README), BTreeSet::from(["rust,no_run", "sh", "text", "toml"]));
}

#[test]
fn its_code_is_the_example_hello() {
    assert_eq!(blocks_in("rust,no_run"), [HELLO]);
}

/// Every block for the shell, in its order, word for word but for the port.
#[test]
fn its_commands_do_what_it_says() {
    let mut commands = blocks_in("sh").into_iter();
    let mut next = || commands.next().unwrap();
    let database = Database::sqlite();

    let line = next();
    assert_eq!(line, "cargo run --example cakes\n");
    example("cakes");
    let cakes = served(line, &database, "127.0.0.1:0");
    let printed = cakes.wait_until_printed("cargo app-key issue");
    assert_eq!(paste_lines(&printed), [200, 401, 201, 201, 401, 200, 200], "{printed}");
    let log = cakes.wait_until_logged("\"DELETE /api/v1/cakes/1 HTTP/1.1\" 200");
    let refused = blocks_in("text")[0].trim_end();
    assert!(log.lines().any(|line| line.ends_with(refused)), "{log}");
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
    assert!(README.contains("It answers `Hello, me.`"));
    assert_eq!(http::get(address, "/me", &[]).status, 401);
    assert_eq!(http::get(address, "/", &[]).status, 200);
    drop(hello);

    // That runs this test. `tests/run --help` shows that it is there and knows the option.
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

// A10
#[test]
fn its_commands_for_keys_do_what_it_says() {
    let database = Database::sqlite();
    let settings = [("DATABASE_URL", database.url())];
    let run = |line: &str| shell(&line.replace("COMMENT", "'floor 3'"), &settings);
    let lines: Vec<&str> = markdown::spans(README)
        .into_iter()
        .filter(|span| span.starts_with("cargo app-key "))
        .collect();
    assert_eq!(
        lines,
        [
            "cargo app-key migrate",
            "cargo app-key issue --name COMMENT --ip 127.0.0.1",
            "cargo app-key issue --name COMMENT --ip any",
            "cargo app-key list",
            "cargo app-key revoke 1",
            "cargo app-key show 1",
            "cargo app-key disable 2",
            "cargo app-key enable 2",
            "cargo app-key issue --help",
        ]
    );
    let states = || {
        database.texts("SELECT CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN disabled_at IS NOT NULL THEN 'disabled' ELSE 'active' END FROM api_keys ORDER BY id")
    };
    run(lines[0]);
    let keys = [run(lines[1]), run(lines[2])];
    assert_eq!(
        database.texts("SELECT name || ' ' || allowed_ips FROM api_keys ORDER BY id"),
        ["floor 3 127.0.0.1", "floor 3 0.0.0.0"]
    );
    let listed = run(lines[3]);
    assert_eq!(listed.matches("floor 3").count(), 2, "{listed}");
    for key in &keys {
        assert_no_piece_of(key.trim_end(), &listed);
    }
    run(lines[4]);
    assert_eq!(states(), ["revoked", "active"]);
    assert!(run(lines[5]).contains("revoked"));
    run(lines[6]);
    assert_eq!(states(), ["revoked", "disabled"]);
    run(lines[7]);
    assert_eq!(states(), ["revoked", "active"]);
    let help = run(lines[8]);
    for option in ["--ip", "--scope", "--owner", "--expires", "--json"] {
        assert!(help.contains(option), "{option}");
        assert!(markdown::spans(README).iter().any(|span| span.starts_with(option)), "{option}");
    }
}

#[test]
fn its_dependency_lines_resolve_for_each_database() {
    let lines = blocks_in("toml")[0];
    let folder = std::env::temp_dir().join(format!("own-service-{}", std::process::id()));
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/main.rs"), "fn main() {}\n").unwrap();
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let runtime = root().canonicalize().unwrap().join("api-key-runtime");
    let named = "../require_app_key/api-key-runtime";
    assert!(lines.contains(named));
    for feature in
        ["postgres", "sqlite", "postgres-bundled", "sqlite-bundled", "test-util", "route-audit"]
    {
        let lines = lines
            .replace(named, runtime.to_str().unwrap())
            .replace("\"sqlite-bundled\"", &format!("\"{feature}\""));
        let manifest = format!("[package]\nname = \"own-service\"\nedition = \"2024\"\n\n{lines}");
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        let output = cargo()
            .args(["tree", "--offline", "--edges", "normal", "--depth", "1"])
            .current_dir(&folder)
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && shown.contains("api-key-runtime v"),
            "{feature}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_files_it_and_its_neighbours_link_to_are_there() {
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("https://")) {
            assert!(root().join(link).exists(), "{name} links to {link}");
        }
        for (_, line) in
            markdown::blocks(&text).iter().filter(|(kind, _)| *kind == "sh" && name != "README.md")
        {
            let program = line.split_whitespace().next().unwrap();
            assert!(root().join(program).exists(), "{name} says to run {program}");
        }
    }
}
