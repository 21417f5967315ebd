//! What the compiler says of the attribute in a user's crate: each file of `ui/fail` is a fault, and beside it is what is said, in the
//! words of Rust 1.95. `TRYBUILD=overwrite` writes them anew; `trybuild=NAME` after `--` runs those of that name alone.
//!
//! What a user's crate may contain is in `ui/pass`, a library that this test binary depends on: compiled, it has passed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use trybuild::TestCases;

/// The package whose dependencies the cases get. Ours has both databases among its own, built from C; that one has what a handler needs.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ui")
}

// B13
#[test]
fn faults_are_reported_where_they_stand() {
    // trybuild reads of which package it runs the cases from the environment alone: this test runs itself there.
    const PACKAGE: &str = "CARGO_MANIFEST_DIR";
    if env::var_os(PACKAGE).is_some_and(|path| package() == path) {
        return TestCases::new().compile_fail("fail/*.rs");
    }
    let filters = env::args().filter(|argument| argument.starts_with("trybuild="));
    let cases = Command::new(env::current_exe().unwrap())
        .args(["ui::faults_are_reported_where_they_stand", "--exact", "--nocapture"])
        .args(filters)
        .env(PACKAGE, package())
        .current_dir(package())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [said, reported] =
        [cases.stdout, cases.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(cases.status.success(), "{said}{reported}");
    assert!(said.contains("1 passed"), "{said}{reported}");
}

#[test]
fn each_fault_is_one_error() {
    let mut cases = 0;
    for entry in fs::read_dir(package().join("fail")).unwrap() {
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
