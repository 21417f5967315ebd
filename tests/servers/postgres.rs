//! A private `PostgreSQL` server of the newest installed version.

use std::{
    env,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection as _, PgConnection};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    free_ports, server,
    user::{ServerFolder, as_server},
};

/// How long a server may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of every server. Durability is off, because no database needs to survive a crash of the
/// machine.
const COMMON: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
];

/// Settings of a server for one test.
pub(crate) const SMALL: &[&str] = &[
    "shared_buffers=16MB",
    "max_connections=60",
    "wal_level=logical",
    // Shortens the time until a logical replication subscription starts.
    "wal_retrieve_retry_interval=100ms",
];

/// Settings of the server that all tests of a program share.
const SHARED: &[&str] =
    &["shared_buffers=64MB", "max_connections=200", "max_prepared_transactions=5"];

/// Environment variables that libpq reads even if the URL contains all other settings.
const READ_BY_LIBPQ: [&str; 4] = ["PGHOSTADDR", "PGOPTIONS", "PGSERVICE", "PGSSLMODE"];

pub(crate) struct Postgres {
    folder: ServerFolder,
    settings: &'static [&'static str],
    port: u16,
    running: Mutex<Child>,
}

impl Postgres {
    /// Returns the server that all tests of this program share, started on first use.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(SHARED))
    }

    /// Starts a server without user databases.
    pub(crate) fn start(settings: &'static [&'static str]) -> Self {
        let folder = ServerFolder::new();
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(data_of(template())).arg(data_of(&folder));
        succeed(copy);
        Self::start_in(folder, settings)
    }

    /// Starts a hot standby of the server at this address.
    pub(crate) fn standby_of(primary: SocketAddr, settings: &'static [&'static str]) -> Self {
        let folder = ServerFolder::new();
        let mut copy = Command::new(program("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .args(["--host", &primary.ip().to_string()])
            .args(["--port", &primary.port().to_string()])
            .args(["--username", "postgres"])
            .arg("--pgdata")
            .arg(data_of(&folder));
        succeed(copy);
        Self::start_in(folder, settings)
    }

    fn start_in(folder: ServerFolder, settings: &'static [&'static str]) -> Self {
        for name in READ_BY_LIBPQ {
            assert!(
                env::var_os(name).is_none(),
                "cannot connect to a private PostgreSQL: libpq would read {name}; \
                 run `env -u {name} cargo test --workspace`, or `tests/run`"
            );
        }
        let (port, child) = free_ports()
            .find_map(|port| Some((port, run(&folder, settings, port)?)))
            .expect("a port is free");
        Self { folder, settings, port, running: Mutex::new(child) }
    }

    /// Starts the server again at the same address after it ended.
    pub(crate) fn start_again(&self) {
        *self.running.lock().unwrap() =
            run(&self.folder, self.settings, self.port).expect("the port is still free");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Returns the URL of a database of this server.
    pub(crate) fn url_of(&self, database: &str) -> String {
        url_of(self.port, database)
    }

    /// Returns the URL of a database that exists in every server.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Returns the file that the server logs to.
    pub(crate) fn log(&self) -> PathBuf {
        log_of(&self.folder)
    }

    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(&self.running.lock().unwrap())
    }

    /// Waits until the killed or stopped server has ended.
    pub(crate) fn wait_for_end(&self) {
        self.running.lock().unwrap().wait().unwrap();
    }

    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.running.lock().unwrap().try_wait(), Ok(None))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = kill_process(self.process(), Signal::QUIT);
            self.wait_for_end();
        }
    }
}

fn data_of(folder: &ServerFolder) -> PathBuf {
    folder.path().join("data")
}

fn log_of(folder: &ServerFolder) -> PathBuf {
    folder.path().join("log")
}

fn url_of(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// Returns a data folder that new servers copy. A copy is faster than `initdb`, especially with
/// small WAL segments.
fn template() -> &'static ServerFolder {
    static TEMPLATE: OnceLock<ServerFolder> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = ServerFolder::new();
        // Not every system has the locale `C.UTF-8`.
        let failures: Vec<String> = ["C.UTF-8", "C"]
            .into_iter()
            .map_while(|locale| {
                let mut initdb = Command::new(program("initdb"));
                initdb
                    .args(["--username", "postgres", "--auth", "trust", "--encoding", "UTF8"])
                    .args(["--locale", locale, "--no-sync", "--wal-segsize", "1", "--pgdata"])
                    .arg(data_of(&folder));
                try_to(initdb).err()
            })
            .collect();
        assert!(failures.len() < 2, "{failures:?}");
        folder
    })
}

/// Runs a program as the server user.
fn try_to(mut command: Command) -> Result<(), String> {
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    let output = as_server(command).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
}

fn succeed(command: Command) {
    try_to(command).unwrap();
}

/// Starts the server of this folder, and waits until it accepts connections. Returns `None` if the
/// port is taken.
fn run(folder: &ServerFolder, settings: &[&str], port: u16) -> Option<Child> {
    let log = File::options().create(true).append(true).open(log_of(folder)).unwrap();
    let mut command = server(&program("postgres"), folder.path());
    command
        .arg("-D")
        .arg(data_of(folder))
        .args(["-p", &port.to_string()])
        .args(COMMON.iter().chain(settings).flat_map(|setting| ["-c", setting]))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut child = as_server(command).spawn().unwrap();
    let until = Instant::now() + START_TIMEOUT;
    while PgConnection::establish(&url_of(port, "postgres")).is_err() {
        if child.try_wait().unwrap().is_some() {
            let log = fs::read_to_string(log_of(folder)).unwrap();
            assert!(log.contains("could not create any TCP/IP sockets"), "{log}");
            return None;
        }
        assert!(Instant::now() < until, "the server did not start");
        thread::sleep(Duration::from_millis(5));
    }
    Some(child)
}

/// Returns the path of a `PostgreSQL` program.
pub(crate) fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(find_programs).join(name)
}

/// Finds the folder of the server's programs. On Debian, the folder is not on the `PATH`. The
/// `PATH` may contain only the client programs.
fn find_programs() -> PathBuf {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.map(|entry| entry.unwrap().path().join("bin")).collect())
        .unwrap_or_default();
    folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let resolved =
        |folder: PathBuf| Some(folder.join("initdb").canonicalize().ok()?.parent()?.to_owned());
    folders.extend(env::split_paths(&path).filter_map(resolved));
    let has_server =
        |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
    folders.into_iter().find(has_server).expect(
        "cannot start PostgreSQL: no server is in /usr/lib/postgresql, in `pg_config --bindir` or on the PATH; \
         run `tests/run --install`",
    )
}

/// Returns the version in `/usr/lib/postgresql/VERSION/bin`.
fn version(folder: &Path) -> Option<u32> {
    folder.parent()?.file_name()?.to_str()?.parse().ok()
}
