//! Requests at a steady rate, with the time and status of each request.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::http::{self, Client};

/// How long an idle connection may be reused. The server keeps idle connections longer.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A guard that stops the senders on drop, even if the test panics.
pub(crate) struct Stopping<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One request and the status of its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
    pub(crate) status: u16,
}

impl Sample {
    pub(crate) fn took(&self) -> Duration {
        self.answered - self.sent
    }
}

/// Sends the requests of `head` at this interval until `stop` is set. A slow response does not
/// delay the next request.
pub(crate) fn steady(
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
            // Requests that a paused machine missed are not sent later.
            due = (due + every).max(Instant::now());
            let head = head();
            let (samples, idle) = (&samples, &idle);
            scope.spawn(move || {
                let kept: Option<(Client, Instant)> = idle.lock().unwrap().pop();
                let kept = kept.filter(|(_, used)| used.elapsed() < KEEP_ALIVE);
                // While the machine was paused, the server may have closed the connection.
                let asked = kept.and_then(|(client, _)| ask(client, &head));
                let (client, sample) = asked
                    .or_else(|| ask(Client::connect(address), &head))
                    .expect("the server answers on a new connection");
                samples.lock().unwrap().push(sample);
                idle.lock().unwrap().push((client, Instant::now()));
            });
        }
    });
    samples.into_inner().unwrap()
}

/// Sends a request. Returns `None` if the connection was closed without a response.
fn ask(mut client: Client, head: &str) -> Option<(Client, Sample)> {
    let sent = Instant::now();
    let status = client.send(head).read(false)?.status;
    let answered = Instant::now();
    let sample = Sample { sent, answered, status };
    Some((client, sample))
}

/// Returns a request for the guarded route with this key.
pub(crate) fn with_key(key: &str) -> String {
    http::head("GET", "/guarded", &[&format!("X-API-Key: {key}")])
}

/// Prints the times of these requests, and fails if the median exceeds the bound. On an idle
/// machine, one request in a hundred takes about ten milliseconds. On a busy machine, only the
/// median shows that requests do not wait for the database.
pub(crate) fn assert_prompt<'a>(
    what: &str,
    samples: impl IntoIterator<Item = &'a Sample>,
    bound: Duration,
) {
    let mut times: Vec<Duration> = samples.into_iter().map(Sample::took).collect();
    times.sort_unstable();
    let at = |hundredth: usize| times[(times.len() - 1) * hundredth / 100];
    println!(
        "{what}: {} requests, p50 {:?}, p90 {:?}, p99 {:?}, max {:?}",
        times.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
    assert!(at(50) < bound, "{what}: p50 {:?}", at(50));
}

/// Prints the number of requests by status, and returns the share of one status.
pub(crate) fn share(what: &str, samples: &[Sample], status: u16) -> f64 {
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
