//! A place for a server. One process after another runs in this place.

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

/// Time in which a server must find its database and begin to serve.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings that all processes in this place share.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) store: Store,
    pub(super) max_staleness: Duration,
    pub(super) stale_if_error: Duration,
    /// The number of seconds by which the wall clock is ahead at first, or `None` for a correct
    /// clock. Applies only where keys expire by the database's clock.
    pub(super) clock_ahead: Option<i64>,
}

impl Kind {
    /// Returns the bound: a request that begins later than this after a change must see the change.
    pub(super) fn bound(&self) -> Duration {
        self.max_staleness.max(self.stale_if_error)
    }

    /// Returns whether operators may change keys through this server, which is so unless the test
    /// gave the server a faulty store.
    pub(super) fn administrates(&self) -> bool {
        matches!(self.store, Store::Own | Store::Slow)
    }
}

/// The part of a place that all threads use.
pub(super) struct Seat {
    pub(super) kind: Kind,
    current: Mutex<(Server, SocketAddr)>,
}

impl Seat {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, current: Mutex::new((0, ([127, 0, 0, 1], 1).into())) }
    }

    /// Returns the current server, or the last one.
    pub(super) fn now(&self) -> (Server, SocketAddr) {
        *self.current.lock().unwrap()
    }
}

/// The process in a place, for the thread that starts and ends it.
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
