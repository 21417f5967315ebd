//! A slot for a server, whose process may be killed and replaced.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    clock::WallClock,
    event::{Server, What},
    recorder::Recorder,
    server::{Process, Settings, Store},
};
use crate::support::Proxy;

/// Maximum time for a server to connect to its database and begin to serve.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings of every process in a slot.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) store: Store,
    pub(super) max_staleness: Duration,
    pub(super) stale_if_error: Duration,
    /// The initial offset of the wall clock in seconds, or `None` for a correct clock. Ignored
    /// where keys expire by the machine's clock.
    pub(super) clock_ahead: Option<i64>,
}

impl Kind {
    /// Returns the bound on staleness. A request that begins later than this bound after a change
    /// must see the change.
    pub(super) fn bound(&self) -> Duration {
        self.max_staleness.max(self.stale_if_error)
    }

    /// Returns whether operators may change keys through this server. A server with a faulty store
    /// does not support this.
    pub(super) fn administrates(&self) -> bool {
        matches!(self.store, Store::Own | Store::Slow)
    }
}

/// The part of a slot that all threads share.
pub(super) struct Seat {
    pub(super) kind: Kind,
    current: Mutex<(Server, SocketAddr)>,
}

impl Seat {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, current: Mutex::new((0, ([127, 0, 0, 1], 1).into())) }
    }

    /// Returns the number and the address of the current server, or of the last server if none
    /// runs.
    pub(super) fn now(&self) -> (Server, SocketAddr) {
        *self.current.lock().unwrap()
    }
}

/// The process in a slot, owned by the thread that starts and ends the process.
pub(super) struct Seated {
    process: Option<Process>,
    /// The proxy between the server and its database, if the run may break the connection.
    pub(super) proxy: Option<Proxy>,
    /// The wall clock of the server, if that clock can be wrong.
    pub(super) clock: Option<WallClock>,
    database_url: String,
    log: PathBuf,
}

impl Seated {
    pub(super) fn new(
        proxy: Option<Proxy>,
        clock: Option<WallClock>,
        database_url: String,
        log: PathBuf,
    ) -> Self {
        Self { process: None, proxy, clock, database_url, log }
    }

    /// Starts a process, and retries until its database is available.
    pub(super) fn start(&mut self, seat: &Seat, recorder: &Recorder) {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let kind = seat.kind;
        let settings = Settings {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            database_url: self.database_url.clone(),
            store: kind.store,
            max_staleness: kind.max_staleness,
            stale_if_error: kind.stale_if_error,
            has_wrong_clock: self.clock.is_some(),
        };
        let began = recorder.now();
        let until = Instant::now() + START_TIMEOUT;
        let process = loop {
            if let Some(process) = Process::start(&settings, self.clock.as_ref(), &self.log) {
                break process;
            }
            assert!(
                Instant::now() < until,
                "server {} does not start: see {}",
                settings.number,
                self.log.display()
            );
            thread::sleep(Duration::from_millis(50));
        };
        *seat.current.lock().unwrap() = (settings.number, process.address);
        self.process = Some(process);
        recorder.ended(
            began,
            What::Started {
                server: settings.number,
                kind: kind.name.to_owned(),
                bound: kind.bound(),
            },
        );
    }

    pub(super) fn pause(&self) {
        if let Some(process) = &self.process {
            process.pause();
        }
    }

    pub(super) fn resume(&self) {
        if let Some(process) = &self.process {
            process.resume();
        }
    }

    pub(super) fn kill(&mut self, seat: &Seat, recorder: &Recorder) {
        self.process = None;
        let (server, _) = seat.now();
        recorder.ended(recorder.now(), What::Stopped { server });
    }
}
