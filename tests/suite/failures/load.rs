//! Requests at a steady rate, and what became of each.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::http::{self, Client};

/// Shorter than that of the server.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    pub(super) status: u16,
}

impl Sample {
    pub(super) fn took(&self) -> Duration {
        self.answered - self.sent
    }
}

/// Asks for what `head` says every so often, whether or not those before were answered, until it is told to stop.
pub(super) fn steady(
    address: SocketAddr,
    every: Duration,
    stop: &AtomicBool,
    mut head: impl FnMut() -> String,
) -> Vec<Sample> {
    let samples = Mutex::new(Vec::new());
    let idle = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let mut due = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += every;
            let head = head();
            let (samples, idle) = (&samples, &idle);
            scope.spawn(move || {
                let kept: Option<(Client, Instant)> = idle.lock().unwrap().pop();
                let kept = kept.filter(|(_, used)| used.elapsed() < KEEP_ALIVE);
                let mut client =
                    kept.map_or_else(|| Client::connect(address), |(client, _)| client);
                samples.lock().unwrap().push(ask(&mut client, &head));
                idle.lock().unwrap().push((client, Instant::now()));
            });
        }
    });
    samples.into_inner().unwrap()
}

fn ask(client: &mut Client, head: &str) -> Sample {
    let sent = Instant::now();
    let response = client.send(head).read(false);
    let answered = Instant::now();
    Sample {
        sent,
        answered,
        status: response.expect("the connection stays open").status,
    }
}

/// A request for the guarded route with this key.
pub(super) fn with_key(key: &str) -> String {
    http::head("GET", "/guarded", &[&format!("X-API-Key: {key}")])
}

/// Prints the times of these requests, and fails where more than one in a hundred was slower than this.
pub(super) fn assert_prompt(what: &str, samples: &[Sample], bound: Duration) {
    let mut times: Vec<Duration> = samples.iter().map(Sample::took).collect();
    times.sort_unstable();
    let at = |hundredth: usize| times[(times.len() - 1) * hundredth / 100];
    println!(
        "{what}: {} requests, p50 {:?}, p99 {:?}, max {:?}",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(99) < bound, "{what}: p99 {:?}", at(99));
}

/// Prints how many of each status there were, and answers the share of one of them.
pub(super) fn share(what: &str, samples: &[Sample], status: u16) -> f64 {
    let count = |status| {
        let samples = samples.iter().filter(|sample| sample.status == status);
        u32::try_from(samples.count()).unwrap()
    };
    let all = u32::try_from(samples.len()).unwrap();
    println!(
        "{what}: {all} requests, {} times 200, {} times 401, {} times 503",
        count(200),
        count(401),
        count(503)
    );
    f64::from(count(status)) / f64::from(all)
}
