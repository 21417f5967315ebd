//! Programs that tests start: the examples and `app-key`, which are built first, and installed
//! programs.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Once, OnceLock},
};

use serde_json::Value;

/// The script that installs the stock `diesel` command. The script contains the version.
const RUN: &str = include_str!("../../run");

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns a command without the settings of the developer's environment, such as the
/// `DATABASE_URL` of `.cargo/config.toml`.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["DATABASE_URL", "BIND"].contains(&&*text)
            || ["APP_KEY_", "PG"].iter().any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

pub(crate) fn cargo() -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Returns a command that runs an example with an empty environment. The example is built as by
/// `cargo run`.
pub(crate) fn example(name: &str) -> Command {
    let mut program = examples()
        .iter()
        .find(|path| path.file_stem().is_some_and(|stem| stem == name))
        .map(Command::new)
        .expect("cargo reports the path of the example");
    program.env_clear();
    program
}

fn examples() -> &'static [PathBuf] {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let packages = ["-p", "app-key-examples", "-p", "app-key-own-table"];
        [&["--examples"][..], &packages].iter().flat_map(|chosen| build(chosen)).collect()
    })
}

/// Returns the path of the command `app-key`.
pub(crate) fn app_key() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| build(&["-p", "app-key"]).pop().expect("cargo reports the path of app-key"))
}

/// Builds the chosen programs and returns their paths.
fn build(chosen: &[&str]) -> Vec<PathBuf> {
    let output = cargo()
        .args(["build", "--quiet", "--locked", "--message-format", "json-render-diagnostics"])
        .args(chosen)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{chosen:?} does not build");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

/// Builds every program before the first test of a complete run, so that no compiler slows down
/// tests with time limits. A run of selected tests builds programs when needed.
pub(crate) fn build_before_the_suite() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        if env::args().skip(1).all(|argument| argument.starts_with('-')) {
            examples();
            app_key();
        }
    });
}

/// Returns the path of the stock `diesel` command, in the version that `tests/run --install`
/// installs.
pub(crate) fn diesel() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let version = RUN.lines().find_map(|line| line.strip_prefix("diesel_version=")).unwrap();
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let folder = format!("require_app_key/diesel-{version}/bin/diesel");
        let is_wanted = |program: &PathBuf| {
            let output = Command::new(program).arg("--version").output();
            output.is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout).contains(&format!("Version: {version}"))
            })
        };
        cache
            .map(|cache| cache.join(folder))
            .into_iter()
            .chain([PathBuf::from("diesel")])
            .find(is_wanted)
            .unwrap_or_else(|| {
                panic!(
                    "cannot run diesel {version}: it is not installed; run `tests/run --install`"
                )
            })
    })
}
