//! A `PgBouncer` in transaction mode in front of a server. The pooler serves every database of that
//! server.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection as _, PgConnection};

use super::{
    Postgres, free_ports, installed, server,
    user::{ServerFolder, as_server},
};

const START_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Pooler {
    pub(crate) address: SocketAddr,
    folder: ServerFolder,
}

/// The limits of a pooler.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Maximum number of clients.
    pub(crate) clients: u32,
    /// Maximum number of connections to each database.
    pub(crate) connections: u32,
}

impl Pooler {
    /// Returns the pooler that all tests of this program share, started on first use. The pooler
    /// ends with this program.
    pub(crate) fn shared() -> &'static Self {
        static POOLER: OnceLock<Pooler> = OnceLock::new();
        // Few connections for many clients, so that clients share connections.
        let sizes = Sizes { clients: 500, connections: 3 };
        POOLER.get_or_init(|| Self::start(Postgres::shared(), sizes))
    }

    /// Starts a pooler in front of this server. The pooler ends with this program.
    pub(crate) fn start(server: &Postgres, sizes: Sizes) -> Self {
        let folder = ServerFolder::new();
        let port = free_ports()
            .find(|&port| start(&folder, server.address().port(), port, sizes).is_some())
            .expect("a port is free");
        Self { address: ([127, 0, 0, 1], port).into(), folder }
    }

    /// Returns the id of the pooler's process.
    #[allow(dead_code, reason = "only a bench uses it")]
    pub(crate) fn process(&self) -> u32 {
        fs::read_to_string(self.folder.path().join("pid")).unwrap().trim().parse().unwrap()
    }
}

/// Starts a pooler. Returns `None` if the port is taken.
fn start(folder: &ServerFolder, server_port: u16, port: u16, sizes: Sizes) -> Option<Child> {
    let Sizes { clients, connections } = sizes;
    let settings = format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server_port} user=postgres\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         default_pool_size = {connections}\n\
         max_client_conn = {clients}\n\
         logfile = log\n"
    );
    fs::write(folder.path().join("pgbouncer.ini"), settings).unwrap();
    let mut command = server(&installed("pgbouncer"), folder.path());
    command.args(["-q", "pgbouncer.ini"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = as_server(command).spawn().unwrap();
    let until = Instant::now() + START_TIMEOUT;
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    while PgConnection::establish(&url).is_err() {
        if child.try_wait().unwrap().is_some() {
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(log.contains("in use"), "{log}");
            return None;
        }
        assert!(Instant::now() < until, "PgBouncer did not start");
        thread::sleep(Duration::from_millis(5));
    }
    Some(child)
}
