//! A run, which records a history. Servers, clients, operators and faults run concurrently; a quiet
//! phase follows.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    checker::{Rule, Verdict, check},
    client::Client,
    clock::WallClock,
    event::{Answer, Caller, Handle, What},
    faults::{Breaker, FILLERS, break_database, break_servers},
    operator::{Operator, Owned},
    place::Place,
    pool::{Pool, Shown},
    recorder::{Counts, Recorder},
    seat::{Kind, Seat, Seated},
};
use crate::support::random::Random;

const CLIENTS_OF_A_SERVER: usize = 4;
const OPERATORS: usize = 2;
/// The maximum time that a run waits for enough events.
const LONGEST: Duration = Duration::from_secs(180);
/// Interval between checks of the history while a server still responds wrongly. Checking a long
/// history takes seconds.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// The parameters of a run.
pub(super) struct Plan {
    pub(super) place: Place,
    pub(super) servers: Vec<Kind>,
    /// The duration of a run before its quiet phase.
    pub(super) length: Duration,
    /// Returns whether enough events have happened. If not, the run continues after `length`, for
    /// at most [`LONGEST`].
    pub(super) enough: fn(Counts) -> bool,
    /// Whether faults happen during the run.
    pub(super) with_faults: bool,
    /// Maximum time for a server to recover after the last fault.
    pub(super) recovery: Duration,
    pub(super) seed: u64,
}

/// The result of a run.
pub(super) struct Finished {
    pub(super) verdict: Verdict,
    /// The folder with the history and the servers' logs. The folder is removed unless the test
    /// fails.
    pub(super) folder: PathBuf,
    pub(super) seed: u64,
    place: Place,
}

impl Finished {
    #[track_caller]
    pub(super) fn assert_good(&self) {
        let broken = self.verdict.count.keys().copied().collect::<Vec<_>>();
        assert!(
            broken.is_empty(),
            "seed {}, history in {}: {}",
            self.seed,
            self.folder.display(),
            self.verdict
        );
    }

    #[track_caller]
    pub(super) fn assert_breaks(&self, rule: Rule) {
        assert!(
            self.verdict.count.contains_key(&rule),
            "no violation was found (seed {}, history in {}): {}",
            self.seed,
            self.folder.display(),
            self.verdict
        );
    }

    /// Removes the folder after a successful test, and returns the place for another run.
    pub(super) fn remove(self) -> Place {
        fs::remove_dir_all(self.folder).unwrap();
        self.place
    }
}

impl Plan {
    pub(super) fn run(self) -> Finished {
        let folder = folder(self.seed);
        let recorder = Recorder::new(folder.join("history"));
        let pool = Pool::new();
        self.place.database().migrate();
        self.add_fillers();
        let seats: Vec<Seat> = self.servers.iter().copied().map(Seat::new).collect();
        let mut seated = self.seat_all(&seats, &folder, &recorder);
        let keys = self.go_on(&pool, &seats, &mut seated, &recorder);
        self.be_quiet(&pool, &seats, &recorder, &keys);
        drop(seated);
        Finished { verdict: check(&recorder.finish()), folder, seed: self.seed, place: self.place }
    }

    /// Adds keys that no client presents, so that one statement can change more keys than the
    /// change log lists.
    fn add_fillers(&self) {
        self.place.database().issue_many(FILLERS);
    }

    fn seat_all(&self, seats: &[Seat], folder: &Path, recorder: &Recorder) -> Vec<Seated> {
        let mut all = Vec::new();
        for (number, seat) in seats.iter().enumerate() {
            let proxy = self.place.proxy();
            let database_url = proxy.as_ref().map_or_else(
                || self.place.url().to_owned(),
                |proxy| self.place.database().url_at(proxy.address),
            );
            let name = format!("{}-{number}", seat.kind.name);
            // Without a database server, keys expire by the machine's clock, so the run does not
            // shift that clock.
            let clock_ahead = seat.kind.clock_ahead.filter(|_| proxy.is_some());
            let clock = clock_ahead.and_then(|ahead| WallClock::new(folder, &name, ahead));
            let log = folder.join(format!("log-{name}"));
            let mut seated = Seated::new(proxy, clock, database_url, log);
            seated.start(seat, recorder);
            all.push(seated);
        }
        all
    }

    /// Runs clients, operators and faults concurrently until the time is over. Returns the keys
    /// that the operators have not finished.
    fn go_on(
        &self,
        pool: &Pool,
        seats: &[Seat],
        seated: &mut [Seated],
        recorder: &Recorder,
    ) -> Vec<Owned> {
        let admin = self.place.database().builder().build_admin().unwrap();
        let mut random = Random::new(self.seed);
        let stop = Stop::default();
        let database = Mutex::new(());
        thread::scope(|scope| {
            for seat in seats.iter().flat_map(|seat| [seat; CLIENTS_OF_A_SERVER]) {
                let random = random.another();
                scope.spawn(|| Client::new(seat, recorder).run(pool, random, &stop.requests));
            }
            let operators = [(); OPERATORS].map(|()| {
                let operator = Operator {
                    recorder,
                    pool,
                    random: random.another(),
                    database_url: self.place.url(),
                    admin: &admin,
                    servers: clients_of_administrators(seats, recorder),
                    keys: Vec::new(),
                };
                scope.spawn(|| operator.run(&stop.changes))
            });
            let timer = scope.spawn(|| {
                thread::sleep(self.length);
                let until = Instant::now() + LONGEST;
                while !(self.enough)(recorder.counts()) && Instant::now() < until {
                    thread::sleep(Duration::from_millis(100));
                }
                stop.faults.store(true, Ordering::Relaxed);
            });
            if self.with_faults {
                let breaker = Breaker::new(recorder, random.another(), &database);
                let (place, stop) = (&self.place, &stop.faults);
                let breaking = scope.spawn(move || break_database(breaker, place, stop));
                let breaker = Breaker::new(recorder, random, &database);
                break_servers(breaker, (place, pool), seats, seated, stop);
                breaking.join().unwrap();
            }
            timer.join().unwrap();
            stop.changes.store(true, Ordering::Relaxed);
            let keys = operators.map(|operator| operator.join().unwrap());
            stop.requests.store(true, Ordering::Relaxed);
            keys.into_iter().flatten().collect()
        })
    }

    /// Presents the operators' keys and some invalid keys to every server. Each key is presented
    /// until the response agrees with the row, or until the recovery time is over. Returns early if
    /// the history already shows an error, because a faulty server may never recover.
    fn be_quiet(&self, pool: &Pool, seats: &[Seat], recorder: &Recorder, keys: &[Owned]) {
        if is_broken(recorder) {
            return;
        }
        let began = recorder.now();
        let certain = keys.iter().filter(|key| !key.is_doubtful);
        let mut expected: Vec<(Shown, Caller, bool)> = Vec::new();
        for key in certain {
            for caller in [Caller::Home, Caller::Abroad] {
                // Keys that expire during this phase count as expired.
                let is_good = key.row.may_accept(
                    caller,
                    began.after(self.recovery * u32::try_from(seats.len()).unwrap()),
                );
                expected.push((key.shown.clone(), caller, is_good));
            }
        }
        expected.extend(pool.some_bad().into_iter().map(|key| (key, Caller::Home, false)));
        if seats.iter().all(|seat| self.comes_back(seat, recorder, &expected)) {
            recorder.ended(began, What::Quiet);
        }
    }

    /// Presents these keys to a server until its responses are correct, for at most the recovery
    /// time. Returns `false` as soon as the history shows an error.
    fn comes_back(
        &self,
        seat: &Seat,
        recorder: &Recorder,
        expected: &[(Shown, Caller, bool)],
    ) -> bool {
        let until = Instant::now() + self.recovery;
        let mut next_search = Instant::now() + SEARCH_INTERVAL;
        let mut client = Client::new(seat, recorder);
        let presented = Handle::ALL
            .into_iter()
            .flat_map(|handle| expected.iter().map(move |one| (handle, one)));
        for (handle, (key, caller, is_good)) in presented {
            let right = if *is_good { Answer::Accepted } else { Answer::Refused };
            while client.present(handle, key, *caller) != right && Instant::now() < until {
                if Instant::now() > next_search {
                    if is_broken(recorder) {
                        return false;
                    }
                    next_search = Instant::now() + SEARCH_INTERVAL;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        true
    }
}

fn is_broken(recorder: &Recorder) -> bool {
    !check(&recorder.so_far()).count.is_empty()
}

/// Creates an empty folder that outlives the run, so that a history with errors can be examined.
fn folder(seed: u64) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("history-{seed}-{}-{number}", process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Flags that stop the faults, the changes and the requests, in this order.
#[derive(Default)]
struct Stop {
    faults: AtomicBool,
    changes: AtomicBool,
    requests: AtomicBool,
}

fn clients_of_administrators<'a>(seats: &'a [Seat], recorder: &'a Recorder) -> Vec<Client<'a>> {
    let administrators = seats.iter().filter(|seat| seat.kind.administrates());
    administrators.map(|seat| Client::new(seat, recorder)).collect()
}
