//! A `PgBouncer` in transaction mode in front of the shared server. The pooler serves every
//! database of that server.

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
    _folder: ServerFolder,
}

impl Pooler {
    /// Returns the pooler that all tests of this program share, started on first use. It ends with
    /// this program.
    pub(crate) fn shared() -> &'static Self {
        static POOLER: OnceLock<Pooler> = OnceLock::new();
        POOLER.get_or_init(|| {
            let folder = ServerFolder::new();
            let port = free_ports()
                .find(|&port| start(&folder, Postgres::shared().address().port(), port).is_some())
                .expect("a port is free");
            Self { address: ([127, 0, 0, 1], port).into(), _folder: folder }
        })
    }
}

/// Starts a pooler with few connections for many clients, so that connections change hands. Returns
/// `None` if the port is taken.
fn start(folder: &ServerFolder, server_port: u16, port: u16) -> Option<Child> {
    let settings = format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server_port} user=postgres\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         default_pool_size = 3\n\
         max_client_conn = 500\n\
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
