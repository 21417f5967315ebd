//! A Postgres server of a test's own, for what would hurt the others: it is frozen, killed, restarted and copied. It is killed, and its
//! files removed, when it is dropped.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection as _, PgConnection};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    Database, PATIENCE,
    database::{own_folder, setting},
    wait_until,
};

const SETTINGS: &str = "
fsync = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 60
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
";

pub(crate) struct OwnServer {
    folder: Folder,
    port: u16,
    running: Mutex<Child>,
    /// Kept for the next one that is started meanwhile.
    _template: Option<Arc<Folder>>,
}

impl OwnServer {
    /// A server with nothing in it.
    pub(crate) fn start() -> Self {
        let template = template();
        let folder = Folder::new();
        let copied =
            program("/bin/cp").arg("-r").arg(template.data()).arg(folder.data()).status().unwrap();
        assert!(copied.success(), "the data folder was not copied");
        Self::start_in(folder, Some(template))
    }

    /// A hot standby of the server at this address.
    pub(crate) fn standby_of(primary: SocketAddr) -> Self {
        let folder = Folder::new();
        let copied = postgres_program("pg_basebackup")
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .args(["--host", &primary.ip().to_string()])
            .args(["--port", &primary.port().to_string()])
            .args(["--username", "postgres"])
            .arg("--pgdata")
            .arg(folder.data())
            .output()
            .unwrap();
        assert!(copied.status.success(), "{copied:?}");
        Self::start_in(folder, None)
    }

    fn start_in(folder: Folder, template: Option<Arc<Folder>>) -> Self {
        let (port, child) = super::free_ports()
            .find_map(|port| Some((port, run(&folder, port)?)))
            .expect("some port is free");
        Self { folder, port, running: Mutex::new(child), _template: template }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// An empty database on it.
    pub(crate) fn database(&self) -> Database {
        Database::postgres_at(&url(self.port))
    }

    /// Stops every process of it where it stands; the system still takes connections for it.
    pub(crate) fn freeze(&self) {
        let postmaster = self.postmaster();
        send(postmaster, Signal::STOP);
        wait_until("the server is stopped", || state_of(postmaster) == Some('T'));
        // Whoever it started last is among these.
        for child in children_of(postmaster) {
            send(child, Signal::STOP);
            wait_until("the server is stopped", || {
                matches!(state_of(child), None | Some('T' | 'Z'))
            });
        }
    }

    pub(crate) fn thaw(&self) {
        let postmaster = self.postmaster();
        for child in children_of(postmaster) {
            send(child, Signal::CONT);
        }
        send(postmaster, Signal::CONT);
    }

    /// Stops one process of it where it stands, for ever.
    pub(crate) fn freeze_process(&self, pid: &str) {
        send(self.process(pid), Signal::STOP);
    }

    /// Kills one process of it, as the system does when memory is short; the server then ends all others and begins anew.
    pub(crate) fn kill_process(&self, pid: &str) {
        send(self.process(pid), Signal::KILL);
    }

    fn process(&self, pid: &str) -> Pid {
        let process = Pid::from_raw(pid.parse().unwrap()).unwrap();
        assert!(children_of(self.postmaster()).contains(&process), "a process of this server");
        process
    }

    /// After a process was killed: it takes none until it has begun anew.
    pub(crate) fn wait_until_it_takes_connections(&self) {
        wait_until("the server is up again", || PgConnection::establish(&url(self.port)).is_ok());
    }

    /// Kills every process of it, as when its machine loses power.
    pub(crate) fn crash(&self) {
        let postmaster = self.postmaster();
        let processes = children_of(postmaster);
        send(postmaster, Signal::KILL);
        for &process in &processes {
            send(process, Signal::KILL);
        }
        self.running.lock().unwrap().wait().unwrap();
        let gone = |&process: &Pid| matches!(state_of(process), None | Some('Z'));
        wait_until("the server is killed", || processes.iter().all(gone));
    }

    /// Shuts it down in order, as for an update.
    pub(crate) fn shut_down(&self) {
        send(self.postmaster(), Signal::INT);
        self.running.lock().unwrap().wait().unwrap();
    }

    /// Starts it again, at the same address, after it ended; returns when it takes connections.
    pub(crate) fn start_again(&self) {
        *self.running.lock().unwrap() =
            run(&self.folder, self.port).expect("its port was taken meanwhile");
    }

    fn postmaster(&self) -> Pid {
        Pid::from_child(&self.running.lock().unwrap())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if matches!(self.running.lock().unwrap().try_wait(), Ok(None)) {
            self.crash();
        }
    }
}

/// Where a server's files are; removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = own_folder();
        let (user, group) = server_user();
        chown(&folder, Some(user), Some(group)).unwrap();
        Self(folder)
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An empty data folder to copy: `initdb` takes a second or two.
fn template() -> Arc<Folder> {
    static TEMPLATE: Mutex<Weak<Folder>> = Mutex::new(Weak::new());
    let mut shared = TEMPLATE.lock().unwrap();
    if let Some(template) = shared.upgrade() {
        return template;
    }
    let template = Arc::new(Folder::new());
    let made = postgres_program("initdb")
        .args(["--username", "postgres", "--auth", "trust", "--encoding", "UTF8"])
        .args(["--locale", "C", "--no-sync", "--wal-segsize", "1", "--pgdata"])
        .arg(template.data())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let settings = template.data().join("postgresql.conf");
    let defaults = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, defaults + SETTINGS).unwrap();
    *shared = Arc::downgrade(&template);
    template
}

/// Runs the server of this folder until it takes connections. `None` when the port is taken.
fn run(folder: &Folder, port: u16) -> Option<Child> {
    let log = File::options().create(true).append(true).open(folder.log()).unwrap();
    let mut child = postgres_program("postgres")
        .arg("-D")
        .arg(folder.data())
        .args(["-p", &port.to_string()])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while PgConnection::establish(&url(port)).is_err() {
        if child.try_wait().unwrap().is_some() {
            let log = fs::read_to_string(folder.log()).unwrap();
            assert!(log.contains("could not create any TCP/IP sockets"), "{log}");
            return None;
        }
        assert!(Instant::now() < until, "the server did not start");
        thread::sleep(Duration::from_millis(5));
    }
    Some(child)
}

fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

fn postgres_program(name: &str) -> Command {
    program(Path::new(&setting("TEST_POSTGRES_BIN")).join(name))
}

/// A program that runs as the user of the run's own server: Postgres refuses to run as root.
fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    command.env("LC_ALL", "C").current_dir(std::env::temp_dir()).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        let (user, group) = server_user();
        command.uid(user).gid(group);
    }
    command
}

fn server_user() -> (u32, u32) {
    let data = fs::metadata(setting("TEST_POSTGRES_DATA")).unwrap();
    (data.uid(), data.gid())
}

fn send(process: Pid, signal: Signal) {
    // It may have ended by itself meanwhile.
    let _ = kill_process(process, signal);
}

/// A process's state letter and its parent, from `/proc`.
fn status_of(process: Pid) -> Option<(char, i32)> {
    let status = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    let mut fields = status.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn state_of(process: Pid) -> Option<char> {
    status_of(process).map(|(state, _)| state)
}

fn children_of(parent: Pid) -> Vec<Pid> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|&process| {
            status_of(process).is_some_and(|(_, of)| of == parent.as_raw_nonzero().get())
        })
        .collect()
}
