//! A store over an application's own table. A test in the package of the example runs the
//! acceptance suite for stores.

use super::{Example, example, header};
use crate::support::{Database, http, wait_until};

const SOURCE: &str = include_str!("../../../examples/own_table/src/main.rs");

fn serve(database: &Database) -> Example {
    Example::serving("own_table", &[("DATABASE_URL", database.url())])
}

/// Runs a command of the example with this argument and returns its output.
fn run(database: &Database, command: &str, argument: &str) -> String {
    let output = example("own_table")
        .env("DATABASE_URL", database.url())
        .args([command, argument])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

// E6
#[test]
fn the_lines_in_the_header_use_and_end_a_token() {
    let database = Database::sqlite();
    let example = serve(&database);
    let address = example.listens_at().to_string();
    let built = super::example("own_table");
    let shown = header::paste(
        SOURCE,
        "cargo run -p app-key-own-table",
        &[
            ("127.0.0.1:8080", &address),
            ("cargo run -q -p app-key-own-table", built.get_program().to_str().unwrap()),
        ],
        &[("DATABASE_URL", database.url())],
    );
    assert_eq!(shown, format!("Hello, shop.\n{}", header::NOT_GOOD));
}

// E6
#[test]
fn a_change_of_a_token_by_plain_sql_is_applied() {
    let database = Database::sqlite();
    let example = serve(&database);
    let key = run(&database, "issue", "shop");
    assert!(key.starts_with("partner_"), "{key}");
    let status = || http::get_with(example.listens_at(), "/whoami", &key).status;
    wait_until("the token is accepted", || status() == 200);
    for (change, expected) in [
        ("networks = '203.0.113.7'", 401),
        ("networks = '127.0.0.0/8'", 200),
        ("paused_at = issued_at", 401),
        ("paused_at = NULL", 200),
        ("valid_until = issued_at", 401),
        ("valid_until = NULL", 200),
        ("networks = 'no network'", 401),
    ] {
        database.execute(&format!("UPDATE partner_tokens SET {change}")).unwrap();
        wait_until(change, || status() == expected);
    }
    database.execute("UPDATE partner_tokens SET networks = '0.0.0.0'").unwrap();
    wait_until("the token is accepted again", || status() == 200);
    database.execute("DELETE FROM partner_tokens").unwrap();
    wait_until("deleted", || status() == 401);
}
