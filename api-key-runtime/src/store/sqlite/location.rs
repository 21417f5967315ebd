//! Checks that an SQLite file is safe at its location. A file with two names has two logs. A
//! connection through one name does not see changes made through the other name.
//!
//! <https://sqlite.org/howtocorrupt.html>, sections 2.4 and 2.5.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use crate::{error::Error, lock::lock, log, store::Database};

/// The files that this process has opened.
static OPENED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Returns an error if a file has a second name when this process opens the file for the first
/// time. If a second name is added later, for example by a backup with hard links, the service must
/// continue. Logs a warning if the file system is remote.
pub(super) fn check_location(database: &Database, path: &Path) -> Result<(), Error> {
    if lock(&OPENED).contains(path) {
        return Ok(());
    }
    refuse_other_names(database, path)?;
    lock(&OPENED).insert(path.to_owned());
    Ok(())
}

fn refuse_other_names(database: &Database, path: &Path) -> Result<(), Error> {
    let has_links = has_links(path);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = Mounts::parse(&mounts);
    let path = path.to_string_lossy();
    let is_mounted = mounts.mount_a_file_of_another_name(&path);
    if let Some(kind) = mounts.remote_kind(&path) {
        log::warn!(
            "{database} is on a file system of type {kind}, where SQLite's locks may not work: \
             move the file to a local disk, or use Postgres"
        );
    }
    let cause = match (is_mounted, has_links) {
        (true, _) => {
            "the file itself is a mount (a volume of a single file, or a subPath of Kubernetes); \
             mount its folder instead"
        }
        (_, true) => {
            "it has a hard link, made by `cp -al` or `rsync --link-dest`, or left by a killed \
             start (a file beside it with .new- in its name). Remove the link; or stop every \
             program that uses the file, copy it with `cp`, and move the copy over it"
        }
        _ => return Ok(()),
    };
    Err(Error::database(
        format!("{database} has another name, and changes made through that name would be missed"),
        cause,
    ))
}

/// Returns whether a file has several hard links for half a second. A file that is being created
/// has two links only for a moment.
fn has_links(path: &Path) -> bool {
    (0..50).all(|attempt| {
        if attempt > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        links(path) > 1
    })
}

#[cfg(unix)]
fn links(path: &Path) -> u64 {
    fs::metadata(path).map_or(1, |file| std::os::unix::fs::MetadataExt::nlink(&file))
}

#[cfg(not(unix))]
fn links(_: &Path) -> u64 {
    1
}

/// The list of mounts. The list is empty on systems other than Linux.
struct Mounts(Vec<Mount>);

/// A mount. See `proc_pid_mountinfo(5)`.
struct Mount {
    device: String,
    /// The mounted folder or file, as a path within its file system.
    root: String,
    point: String,
    kind: String,
}

impl Mounts {
    fn parse(text: &str) -> Self {
        let mount = |line: &str| {
            let (fields, kind) = line.split_once(" - ")?;
            let mut fields = fields.split(' ').skip(2);
            Some(Mount {
                device: fields.next()?.to_owned(),
                root: unescape(fields.next()?),
                point: unescape(fields.next()?),
                kind: kind.split(' ').next()?.to_owned(),
            })
        };
        Self(text.lines().filter_map(mount).collect())
    }

    /// Returns the mount that contains a path. The last mount at a mount point hides earlier mounts
    /// there.
    fn of(&self, path: &str) -> Option<&Mount> {
        self.0
            .iter()
            .filter(|mount| mount.path_within(path).is_some())
            .max_by_key(|mount| mount.point.trim_end_matches('/').len())
    }

    /// Returns whether the path is the mount point of a file that has another name. A file that is
    /// mounted onto itself keeps its name and its logs. For example, systemd's `ReadWritePaths`
    /// mounts a file onto itself.
    fn mount_a_file_of_another_name(&self, path: &str) -> bool {
        let Some(own) = self.of(path).filter(|mount| mount.point == path) else { return false };
        let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
        let below = self.of(if folder.is_empty() { "/" } else { folder });
        !below.is_some_and(|below| {
            below.device == own.device && below.path_within(path).as_deref() == Some(&own.root)
        })
    }

    fn remote_kind(&self, path: &str) -> Option<&str> {
        let kind = self.of(path)?.kind.as_str();
        let is_remote = [
            "9p", "nfs", "fuse", "cifs", "smb", "virtiofs", "vboxsf", "prl_fs", "ceph", "afs",
            "lustre",
        ]
        .iter()
        .any(|remote| kind.starts_with(remote));
        (is_remote && kind != "fuseblk").then_some(kind)
    }
}

impl Mount {
    /// Returns the path within the mounted file system, or `None` if the path is not below the
    /// mount point.
    fn path_within(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.point.trim_end_matches('/'))?;
        if !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        Some(format!("{}{rest}", self.root.trim_end_matches('/')))
    }
}

/// Replaces the octal escapes that mountinfo uses for space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 8:1 /srv/keys.db /srv/keys.db rw shared:1 - ext4 /dev/sda1 rw
24 22 8:1 /home/ada/keys.db /app/keys.db rw - ext4 /dev/sda1 rw
25 22 8:2 /volumes/a\\040b /data\\040a rw - ext4 /dev/sdb1 rw
26 25 8:2 /volumes/a\\040b/keys.db /data\\040a/sub/keys.db rw - ext4 /dev/sdb1 rw
27 22 0:50 / /net rw - nfs4 server:/keys rw
28 22 0:51 / /host rw - fuse.grpcfuse grpcfuse rw
";

    // E8
    #[test]
    fn a_file_mounted_by_itself_has_another_name() {
        let mounts = Mounts::parse(MOUNTS);
        for (path, expected) in [
            ("/app/keys.db", true),
            ("/data a/sub/keys.db", true),
            ("/srv/keys.db", false),
            ("/srv/other.db", false),
            ("/data a/keys.db", false),
            ("/keys.db", false),
        ] {
            assert_eq!(mounts.mount_a_file_of_another_name(path), expected, "{path}");
        }
        assert!(!Mounts::parse("").mount_a_file_of_another_name("/app/keys.db"));
    }

    #[test]
    fn remote_file_systems_are_named() {
        let mounts = Mounts::parse(MOUNTS);
        assert_eq!(mounts.remote_kind("/net/keys.db"), Some("nfs4"));
        assert_eq!(mounts.remote_kind("/host/keys.db"), Some("fuse.grpcfuse"));
        assert_eq!(mounts.remote_kind("/network/keys.db"), None);
    }
}
