//! A Postgres server: the one of `TEST_POSTGRES_URL`, or one that is started for this run in a temporary folder.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection as _, PgConnection};

/// Runs the server until standard input ends, which it does however the bench ends; then nothing of it is left.
const GUARDIAN: &str = r#"
trap : INT TERM HUP
"$@" &
read -r _
kill -QUIT $!
wait
rm -rf "$FOLDER"
"#;

/// The memory is Postgres's own default. Nothing has to survive a crash of the machine, and no figure rests on how long a commit takes.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "max_connections=200",
    "shared_buffers=128MB",
    "max_wal_size=4GB",
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
];

pub(crate) struct Postgres {
    /// Of a database that is there already.
    url: String,
    guardian: Option<Child>,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        if let Ok(url) = env::var("TEST_POSTGRES_URL") {
            return Self { url, guardian: None };
        }
        let programs = programs();
        let user = User::of_server();
        let folder = env::temp_dir().join(format!("bench_postgres_{}", process::id()));
        fs::create_dir(&folder).unwrap();
        user.own(&folder);
        let (data, log) = (folder.join("data"), folder.join("log"));
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        initdb.arg("-D").arg(&data);
        let output = user.run(&mut initdb).output().unwrap();
        assert!(
            output.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let port = free_port();
        let mut guardian = Command::new("sh");
        guardian.args(["-c", GUARDIAN, "sh"]);
        guardian.arg(programs.join("postgres"));
        guardian.arg("-D").arg(data);
        guardian.args(["-p", &port.to_string()]);
        guardian.arg("-k").arg(&folder);
        guardian.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        guardian
            .env("FOLDER", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap());
        let started = Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            guardian: Some(user.run(&mut guardian).spawn().unwrap()),
        };
        started.wait(&log);
        started
    }

    /// Until it answers.
    fn wait(&self, log: &Path) {
        let began = Instant::now();
        while PgConnection::establish(&self.url).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "the server did not start: {}",
                fs::read_to_string(log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where this database of the server is.
    pub(crate) fn url_of(&self, database: &str) -> String {
        let (server, _) = self.url.rsplit_once('/').expect("it names a database");
        format!("{server}/{database}")
    }

    /// Where a database is that others can be made from.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(guardian) = &mut self.guardian {
            drop(guardian.stdin.take());
            let _ = guardian.wait();
        }
    }
}

/// The folder of the newest server's programs, which Debian keeps off the PATH.
fn programs() -> PathBuf {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.map(|entry| entry.unwrap().path().join("bin")))
        .map(Iterator::collect)
        .unwrap_or_default();
    folders.sort_by_key(|folder| version(folder));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        folders.insert(0, folder.into());
    }
    folders.retain(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    folders.pop().expect(
        "no PostgreSQL server is installed: Debian's package is postgresql, and `tests/run --install` installs it; or \
         set TEST_POSTGRES_URL",
    )
}

/// Of `/usr/lib/postgresql/VERSION/bin`.
fn version(folder: &Path) -> Option<u32> {
    folder.parent()?.file_name()?.to_str()?.parse().ok()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Who the server runs as: it refuses to run as root.
struct User(Option<(u32, u32)>);

impl User {
    fn of_server() -> Self {
        if !rustix::process::getuid().is_root() {
            return Self(None);
        }
        let number = |what: &str, user: &str| {
            let output = Command::new("id").args([what, user]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().ok()
        };
        let ids = ["postgres", "nobody"]
            .into_iter()
            .find_map(|user| Some((number("-u", user)?, number("-g", user)?)));
        Self(Some(ids.expect("this system has a user postgres or nobody")))
    }

    fn own(&self, folder: &Path) {
        if let Some((user, group)) = self.0 {
            chown(folder, Some(user), Some(group)).unwrap();
        }
    }

    fn run<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        // This one may not enter the folder that the bench runs in.
        command.current_dir("/").env("LC_ALL", "C")
    }
}
