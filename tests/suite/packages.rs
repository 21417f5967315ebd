//! The packages as published. `tests/features` must build the runtime without features, with each
//! feature alone and with all features.

use std::{collections::BTreeSet, ffi::OsStr, path::Path, process::Command};

use crate::support::programs::root;

const RUNTIME_MANIFEST: &str = include_str!("../../api-key-runtime/Cargo.toml");

/// Runs a command, which must succeed, and returns its output.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the documented features.
fn features() -> BTreeSet<&'static str> {
    let (_, features) = RUNTIME_MANIFEST.split_once("[features]").unwrap();
    let (features, _) = features.split_once("\n[").unwrap();
    features
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| *name != "default" && !name.starts_with('_'))
        .collect()
}

// H4
#[test]
fn every_feature_is_built_alone_and_with_the_others() {
    let combinations = output("tests/features", &["--list"]);
    let combinations: BTreeSet<&str> = combinations.lines().collect();
    let features = features();
    assert!(features.contains("sqlite"), "{features:?}");
    for combination in features.iter().chain(&["none", "all"]) {
        assert!(combinations.contains(combination), "{combination}");
    }
    for combination in combinations {
        for feature in combination.split(',') {
            let known = features.contains(feature) || ["none", "all"].contains(&feature);
            assert!(known, "{combination} has an unknown feature");
        }
    }
}

/// Any patch release of actix-web may change what `experimental-introspection` enables.
#[test]
fn only_the_route_audit_enables_actix_introspection() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let enables = |feature| {
        let shown =
            ["tree", "--locked", "--edges", "normal", "--depth", "1", "--format", "{p} {f}"];
        let chosen = ["--package", "api-key-runtime", "--features", feature];
        let tree = output(&cargo, &[&shown[..], &chosen[..]].concat());
        let actix_web = tree.lines().find(|line| line.contains(" actix-web v")).unwrap();
        assert!(actix_web.contains("macros"), "{actix_web}");
        actix_web.contains("experimental-introspection")
    };
    assert!(enables("route-audit"));
    for feature in ["test-util", "postgres-bundled", "sqlite-bundled"] {
        assert!(!enables(feature), "{feature}");
    }
}

/// Returns whether a file belongs in a package, by its folder and extension.
fn is_ours(file: &str) -> bool {
    let folder = file.split('/').next();
    let kind = Path::new(file).extension().and_then(OsStr::to_str);
    matches!(
        (folder, kind),
        (Some("src"), Some("rs"))
            | (Some("guide"), Some("md" | "svg"))
            | (Some("migrations"), Some("sql"))
    )
}

// H4
#[test]
fn the_packages_hold_only_code_migrations_and_licences() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    for name in ["api-key-macros", "api-key-runtime", "app-key"] {
        let files = output(&cargo, &["package", "--list", "--allow-dirty", "--package", name]);
        let mut by_cargo = BTreeSet::new();
        let mut ours = 0;
        for file in files.lines() {
            if is_ours(file) {
                ours += 1;
            } else {
                by_cargo.insert(file);
            }
        }
        assert!(ours > 6, "{name} has {ours} files");
        // Cargo adds this file only in a git repository.
        by_cargo.remove(".cargo_vcs_info.json");
        let beside = [
            "Cargo.lock",
            "Cargo.toml",
            "Cargo.toml.orig",
            "LICENSE-APACHE",
            "LICENSE-MIT",
            "README.md",
        ];
        assert_eq!(by_cargo, BTreeSet::from(beside), "{name}");
    }
}
