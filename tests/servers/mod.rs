//! Servers for the tests and the benches: a private `PostgreSQL`, and a `PgBouncer` in front of it.
//! Every server ends with the program that started it, even if that program is killed.

pub(crate) mod folder;
pub(crate) mod pooler;
pub(crate) mod postgres;
mod user;

use std::{
    env,
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(crate) use self::{
    folder::own_folder,
    pooler::Pooler,
    postgres::{Postgres, SMALL},
};

/// Returns ports to try, all below the range that systems assign automatically.
pub(crate) fn free_ports() -> impl Iterator<Item = u16> {
    (0..100_u16).map(|number| 20_000 + (RandomState::new().hash_one(number) % 12_000) as u16)
}

/// Returns the path of an installed server program. Debian keeps such programs in a folder that is
/// not on every `PATH`.
#[track_caller]
pub(crate) fn installed(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!("cannot start {name}: it is not installed; run `tests/run --install`")
        })
}

/// Returns a command that runs a server in its folder. The command also writes the server's process
/// id to a file in that folder, for the guardian.
pub(crate) fn server(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", r#"echo $$ >pid; exec "$@""#, "sh"])
        .arg(program)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}
