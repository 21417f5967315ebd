//! A Postgres server for one test, which may freeze, kill, restart or replicate the server. Drop
//! kills the server and removes its files.

use std::{fs, net::SocketAddr};

use diesel::{Connection as _, PgConnection};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    Database,
    servers::{Postgres, SMALL},
    wait_until,
};

pub(crate) struct OwnServer(Postgres);

impl OwnServer {
    /// Starts a server without user databases.
    pub(crate) fn start() -> Self {
        Self(Postgres::start(SMALL))
    }

    /// Starts a hot standby of the server at this address.
    pub(crate) fn standby_of(primary: SocketAddr) -> Self {
        Self(Postgres::standby_of(primary, SMALL))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Creates an empty database on the server.
    pub(crate) fn database(&self) -> Database {
        Database::postgres_at(&self.0.url())
    }

    /// Creates an empty database with this name on the server. A database on another server may
    /// have the same name.
    pub(crate) fn database_named(&self, name: &str) -> Database {
        Database::postgres_named(&self.0.url(), name.to_owned())
    }

    /// Pauses every process of the server. The operating system still accepts connections for the
    /// server.
    pub(crate) fn freeze(&self) {
        let postmaster = self.postmaster();
        send(postmaster, Signal::STOP);
        wait_until("the server is stopped", || state_of(postmaster) == Some('T'));
        // The postmaster is paused, so this list is complete.
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

    /// Pauses one process of the server permanently.
    pub(crate) fn freeze_process(&self, pid: &str) {
        send(self.process(pid), Signal::STOP);
    }

    /// Kills one process of the server, as the system does when it runs out of memory. The server
    /// then ends its other processes and restarts.
    pub(crate) fn kill_process(&self, pid: &str) {
        send(self.process(pid), Signal::KILL);
    }

    fn process(&self, pid: &str) -> Pid {
        let process = Pid::from_raw(pid.parse().unwrap()).unwrap();
        assert!(
            children_of(self.postmaster()).contains(&process),
            "the server has no process {process:?}"
        );
        process
    }

    /// Waits until the server accepts connections after one of its processes was killed.
    pub(crate) fn wait_until_it_takes_connections(&self) {
        wait_until("the server is up again", || PgConnection::establish(&self.0.url()).is_ok());
    }

    /// Kills every process of the server, as a power failure would.
    pub(crate) fn crash(&self) {
        let postmaster = self.postmaster();
        let processes = children_of(postmaster);
        send(postmaster, Signal::KILL);
        for &process in &processes {
            send(process, Signal::KILL);
        }
        self.0.wait_for_end();
        let gone = |&process: &Pid| matches!(state_of(process), None | Some('Z'));
        wait_until("the server is killed", || processes.iter().all(gone));
    }

    /// Shuts the server down cleanly, as for an update.
    pub(crate) fn shut_down(&self) {
        send(self.postmaster(), Signal::INT);
        self.0.wait_for_end();
    }

    /// Starts the server again at the same address after it ended, and waits until it accepts
    /// connections.
    pub(crate) fn start_again(&self) {
        self.0.start_again();
    }

    fn postmaster(&self) -> Pid {
        self.0.process()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            self.crash();
        }
    }
}

fn send(process: Pid, signal: Signal) {
    // The process may have ended already.
    let _ = kill_process(process, signal);
}

/// Returns a process's state letter and its parent, from `/proc`.
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
