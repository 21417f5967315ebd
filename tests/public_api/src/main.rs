//! Compares the public API of `api-key-runtime` with `tests/public_api/public-api.txt`, so that no
//! change to the API goes unnoticed.
//!
//! The program reads rustdoc's JSON, whose format changes between releases of Rust. If the format
//! is not that of [`RELEASE`], the comparison is skipped with a message, and a renewal fails.
//!
//! ```sh
//! cargo run --package api-key-public-api            # compares
//! cargo run --package api-key-public-api -- --write # renews the list
//! ```

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const LIST: &str = "tests/public_api/public-api.txt";
/// The release of Rust that generates the list. Update it together with [`FORMAT`], the list and
/// `public-api` in `Cargo.toml`.
const RELEASE: &str = "1.95";
/// The `format_version` of the JSON that rustdoc of this release writes.
const FORMAT: u32 = 57;
const RENEW: &str = "cargo run --package api-key-public-api -- --write";
/// The features that docs.rs documents.
const FEATURES: &str = "postgres-bundled,route-audit,serde,sqlite-bundled,test-util";
/// The variable that is set when Cargo runs this program instead of rustdoc.
const AS_RUSTDOC: &str = "API_KEY_PUBLIC_API_RUSTDOC";

fn main() -> ExitCode {
    let result = if env::var_os(AS_RUSTDOC).is_some() { run_rustdoc() } else { compare() };
    result.unwrap_or_else(|error| {
        eprintln!("public API: {error}");
        ExitCode::FAILURE
    })
}

fn compare() -> Result<ExitCode, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = root.join(LIST);
    let json = rustdoc_json(&root)?;
    let is_renewal = env::args().nth(1).as_deref() == Some("--write");
    let format = format_of(&json)?;
    if format != FORMAT {
        let rustc = rustc()?;
        let reason = format!(
            "{rustc} writes rustdoc JSON format {format}; use Rust {RELEASE} (format {FORMAT})"
        );
        if is_renewal {
            return Err(format!("cannot renew {LIST}: {reason}").into());
        }
        println!("public API: skipped: {reason}");
        return Ok(ExitCode::SUCCESS);
    }
    let found = public_api(json)?;
    if is_renewal {
        fs::write(list, found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let listed = fs::read_to_string(list)?;
    if found == listed {
        return Ok(ExitCode::SUCCESS);
    }
    let lines = |text: &'static str| text.lines().collect::<BTreeSet<_>>();
    let (listed, found) = (lines(listed.leak()), lines(found.leak()));
    for gone in listed.difference(&found) {
        eprintln!("- {gone}");
    }
    for new in found.difference(&listed) {
        eprintln!("+ {new}");
    }
    Err(format!(
        "the API differs from {LIST}; if the change is intended, run `{RENEW}` and commit the list"
    )
    .into())
}

/// Runs rustdoc, and returns the path of the file that rustdoc writes.
fn rustdoc_json(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["rustdoc", "--quiet", "--locked", "--package", "api-key-runtime", "--lib"])
        .args(["--features", FEATURES, "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .env(AS_RUSTDOC, "1")
        .env("RUSTDOC", env::current_exe()?)
        .status()?;
    if !status.success() {
        return Err("cargo rustdoc failed".into());
    }
    Ok(target.join("doc/api_key_runtime.json"))
}

/// Reads the format number without parsing the JSON, since parsing would fail for another format.
/// Quotes in documentation are escaped, so only the member of the JSON matches.
fn format_of(json: &Path) -> Result<u32, Box<dyn Error>> {
    let text = fs::read_to_string(json)?;
    let (_, after) =
        text.rsplit_once("\"format_version\":").ok_or("rustdoc wrote no format_version")?;
    let digits = after.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    Ok(digits.parse()?)
}

fn rustc() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Returns the sorted public items, one per line.
fn public_api(json: PathBuf) -> Result<String, Box<dyn Error>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()?;
    let lines: BTreeSet<String> = api.items().map(ToString::to_string).collect();
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// Runs rustdoc with unstable options on the stable toolchain. `RUSTC_BOOTSTRAP` is set only for
/// rustdoc, because several build scripts watch this variable and Cargo would rebuild all
/// dependencies.
fn run_rustdoc() -> Result<ExitCode, Box<dyn Error>> {
    let status = Command::new("rustdoc")
        .args(env::args_os().skip(1))
        .env("RUSTC_BOOTSTRAP", "1")
        .status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
