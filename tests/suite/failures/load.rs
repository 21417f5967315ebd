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
                let kept: Option<Client> = idle.lock().unwrap().pop();
                // The server may have closed one that was idle for long.
                let answered = kept.and_then(|client| ask(client, &head));
                let answered = answered.or_else(|| ask(Client::connect(address), &head));
                let (client, sample) = answered.expect("every request is answered");
                samples.lock().unwrap().push(sample);
                idle.lock().unwrap().push(client);
            });
        }
    });
    samples.into_inner().unwrap()
}

/// `None` where the connection was closed instead of an answer.
fn ask(mut client: Client, head: &str) -> Option<(Client, Sample)> {
    let sent = Instant::now();
    let status = client.send(head).read(false)?.status;
    let answered = Instant::now();
    let sample = Sample {
        sent,
        answered,
        status,
    };
    Some((client, sample))
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
    let slow = times.iter().filter(|took| **took > bound).count();
    println!(
        "{what}: {} requests, p50 {:?}, p99 {:?}, max {:?}, {slow} over {bound:?}",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(slow * 100 <= times.len(), "{what}: {slow} over {bound:?}");
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
