//! Compiler errors in a user's crate. Each file in `fail` contains a mistake, and the `.stderr`
//! file beside it contains the messages of Rust 1.95. `TRYBUILD=overwrite` updates the messages,
//! and `trybuild=NAME` after `--` runs only the files with that name.
//!
//! The library of this package contains valid code. This test is a separate program, so that its
//! compiler runs do not slow down tests with time limits.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use trybuild::TestCases;

// B13
#[test]
fn mistakes_are_reported_at_their_location() {
    TestCases::new().compile_fail("fail/*.rs");
}

#[test]
fn each_mistake_is_one_error() {
    let mut cases = 0;
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fail")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "stderr") {
            continue;
        }
        let said = fs::read_to_string(&path).unwrap();
        let errors = said.lines().filter(|line| line.starts_with("error")).count();
        let expected = match path.file_stem().unwrap().to_str().unwrap() {
            "everything_at_once" => 10,
            "two_errors_in_a_body" => 2,
            _ => 1,
        };
        assert_eq!(errors, expected, "{}", path.display());
        cases += 1;
    }
    assert!(cases > 30, "only {cases} cases were found");
}
