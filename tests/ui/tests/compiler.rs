//! Errors of the compiler in a user's crate: each file of `fail` is a fault, beside the messages of
//! Rust 1.95 for it. `TRYBUILD=overwrite` updates the messages; `trybuild=NAME` after `--` runs the
//! faults with that name.
//!
//! The library of this package holds what such a crate may contain: compiled, it has passed. This
//! is a test program of its own, so that its compiler takes no time from tests with a clock.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use trybuild::TestCases;

// B13
#[test]
fn faults_are_reported_where_they_stand() {
    TestCases::new().compile_fail("fail/*.rs");
}

#[test]
fn each_fault_is_one_error() {
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
    assert!(cases > 30, "the cases are elsewhere");
}
