//! The user that database servers run as: `PostgreSQL` and `PgBouncer` refuse to run as root.

use std::{
    fs,
    os::unix::{
        fs::{DirBuilderExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::own_folder;

/// Returns the ids of the server user and its group, or `None` if servers run as the current user.
fn server_user() -> Option<(u32, u32)> {
    static USER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *USER.get_or_init(|| {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = |kind: &str, user: &str| {
            let output = Command::new("id").args([kind, user]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().ok()
        };
        let found = ["postgres", "nobody"]
            .into_iter()
            .find_map(|user| Some((number("-u", user)?, number("-g", user)?)));
        Some(found.expect("this system has a user `postgres` or `nobody`"))
    })
}

/// Makes the command run as the server user.
pub(super) fn as_server(mut command: Command) -> Command {
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Creates a folder that a separate server user may enter but not list. Returns whether servers can
/// reach the folder.
pub(super) fn create_reachable(folder: &Path) -> bool {
    let mode = if server_user().is_some() { 0o711 } else { 0o700 };
    let created = fs::DirBuilder::new().mode(mode).create(folder).is_ok();
    // The server user may be unable to enter a parent folder.
    let mut enter = Command::new("test");
    enter.arg("-x").arg(folder);
    created && as_server(enter).status().is_ok_and(|status| status.success())
}

/// A folder that belongs to the server user; removed on drop.
pub(crate) struct ServerFolder(PathBuf);

impl ServerFolder {
    pub(super) fn new() -> Self {
        let folder = own_folder();
        if let Some((user, group)) = server_user() {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ServerFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
