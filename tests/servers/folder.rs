//! One folder for all databases and servers of this process, and a guardian process that later
//! removes the folder.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{free_ports, user};

/// The script of the guardian. It waits for the end of the pipe, which the system closes even if
/// this process is killed. Statics are never dropped, so this process itself cannot stop the shared
/// servers. SIGCONT continues a server that a test has paused. SIGQUIT stops Postgres as
/// `pg_ctl -m immediate` does. All servers together have ten seconds to end. The script then kills
/// only processes that still run, because the id of an ended process may be reused.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP QUIT
read -r _
pids=$(cat "$0"/*/pid)
for pid in $pids; do
  kill -CONT "$pid"
  kill -QUIT "$pid"
done
tenths=0
while [ "$tenths" -lt 100 ]; do
  living=
  for pid in $pids; do
    kill -0 "$pid" && living="$living $pid"
  done
  pids=$living
  [ -n "$pids" ] || break
  sleep 0.1
  tenths=$((tenths + 1))
done
for pid in $pids; do kill -KILL "$pid"; done
rm -rf "$0"
"#;

/// The minimum free memory for a folder in `/dev/shm`, where databases do not wait for a disk.
const ENOUGH_MEMORY: u64 = 1 << 30;

struct Guarded {
    folder: PathBuf,
    /// Owns the pipe that closes when this process ends.
    _guardian: Child,
}

/// Returns the folder of this process, which the guardian removes.
fn folder() -> &'static Path {
    static GUARDED: OnceLock<Guarded> = OnceLock::new();
    &GUARDED.get_or_init(create).folder
}

fn create() -> Guarded {
    let name = format!("require_app_key.{}.{}", process::id(), free_ports().next().unwrap());
    let folder = [memory(), Some(env::temp_dir()), Some("/tmp".into())]
        .into_iter()
        .flatten()
        .map(|parent| parent.join(&name))
        .find(|folder| user::create_reachable(folder))
        .expect("cannot create a temporary folder that servers can reach; set TMPDIR");
    let guardian = Command::new("/bin/sh")
        .args(["-c", GUARDIAN])
        .arg(&folder)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Guarded { folder, _guardian: guardian }
}

fn memory() -> Option<PathBuf> {
    let memory = Path::new("/dev/shm");
    let space = rustix::fs::statvfs(memory).ok()?;
    (space.f_bavail * space.f_frsize >= ENOUGH_MEMORY).then(|| memory.to_owned())
}

/// Returns a name that no other running process on this machine uses.
pub(crate) fn own_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("test_{}_{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Creates an empty folder. If the caller does not remove the folder, the guardian does.
pub(crate) fn own_folder() -> PathBuf {
    let folder = folder().join(own_name());
    fs::create_dir(&folder).unwrap();
    folder
}
