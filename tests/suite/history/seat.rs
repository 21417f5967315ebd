//! A place for a server: one process after another takes it.

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

/// How long a server may take to find its database and serve.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What is the same of every process in this place.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) store: Store,
    pub(super) max_staleness: Duration,
    pub(super) stale_if_error: Duration,
    /// By how many seconds its wall clock is ahead at first, where keys expire by another one; `None`: it is right.
    pub(super) clock_ahead: Option<i64>,
}

impl Kind {
    /// How much later than a change a request may begin that is judged by what was before.
    pub(super) fn bound(&self) -> Duration {
        self.max_staleness.max(self.stale_if_error)
    }

    /// Whether changes are made in its process: not where its store is wrong.
    pub(super) fn administrates(&self) -> bool {
        matches!(self.store, Store::Own | Store::Slow)
    }
}

/// What everybody knows of it.
pub(super) struct Seat {
    pub(super) kind: Kind,
    current: Mutex<(Server, SocketAddr)>,
}

impl Seat {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, current: Mutex::new((0, ([127, 0, 0, 1], 1).into())) }
    }

    /// Who serves there now, or did last.
    pub(super) fn now(&self) -> (Server, SocketAddr) {
        *self.current.lock().unwrap()
    }
}

/// Who sits there, for the one who starts and ends it.
pub(super) struct Seated {
    process: Option<Process>,
    /// Its way to the database, where that can be broken.
    pub(super) proxy: Option<Proxy>,
    /// Its wall clock, where that can be wrong.
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

    /// Starts a process, as often as it takes until its database is there.
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
