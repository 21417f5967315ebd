//! A client of one server, which sends one request after another over one connection.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    event::{Answer, Caller, Event, Handle, Request, Server, What},
    pool::{Pool, Shown},
    recorder::Recorder,
    seat::Seat,
    server::NUMBER_HEADER,
};
use crate::support::{leaks, random::Random, wire::Connection};

/// Time after which a response counts as lost. No pause of a server is as long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time between two requests.
const LONGEST_PAUSE_MILLISECONDS: usize = 60;

pub(super) struct Client<'a> {
    seat: &'a Seat,
    recorder: &'a Recorder,
    /// The connection, and the address of the process at its other end.
    connection: Option<(SocketAddr, Connection)>,
}

/// The status of a response, and the server that the response names. The port does not identify a
/// server, because a new process may have the port of an ended process.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) server: Server,
}

impl<'a> Client<'a> {
    pub(super) fn new(seat: &'a Seat, recorder: &'a Recorder) -> Self {
        Self { seat, recorder, connection: None }
    }

    /// Presents keys until `stop` is set.
    pub(super) fn run(mut self, pool: &Pool, mut random: Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let key = pool.choose(&mut random);
            let from = match random.below(3) {
                0 => Caller::Abroad,
                _ => Caller::Home,
            };
            let handle = Handle::ALL[random.below(Handle::ALL.len())];
            self.present(handle, &key, from);
            let pause = random.below(LONGEST_PAUSE_MILLISECONDS);
            thread::sleep(Duration::from_millis(pause.try_into().unwrap()));
        }
    }

    /// Presents a key once and records the result.
    pub(super) fn present(&mut self, handle: Handle, key: &Shown, from: Caller) -> Answer {
        let (number, address) = self.seat.now();
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {}\r\nX-API-Key: {}\r\n\r\n",
            handle.path(),
            from.address(),
            key.secret
        );
        let began = self.recorder.now();
        let answered = self.exchange(address, head.as_bytes());
        let ended = self.recorder.now();
        let (server, answer) = answered.map_or((number, Answer::Lost), |answered| {
            (answered.server, answer_of(answered.status))
        });
        let what = What::Request(Request { server, handle, key: key.number, from, answer });
        self.recorder.write(&Event { began, ended, what });
        answer
    }

    /// Presents each of these keys to every handle, and stops if the server cannot check a key or a
    /// response is lost.
    pub(super) fn present_all(&mut self, keys: &[Shown]) {
        for handle in Handle::ALL {
            for key in keys {
                let answer = self.present(handle, key, Caller::Home);
                if matches!(answer, Answer::Unavailable | Answer::Lost) {
                    return;
                }
            }
        }
    }

    /// Sends the server a request to change a key.
    pub(super) fn change(&mut self, id: i64, change: &str) -> Option<Answered> {
        let (_, address) = self.seat.now();
        let head = format!(
            "POST /change/{id}/{change} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        );
        self.exchange(address, head.as_bytes())
    }

    /// Sends a request and returns the response, or `None` if no response came. The next request
    /// then uses a new connection.
    fn exchange(&mut self, address: SocketAddr, head: &[u8]) -> Option<Answered> {
        let mut connection = match self.connection.take() {
            Some((to, connection)) if to == address => connection,
            _ => Connection::with_timeout(address, TIMEOUT).ok()?,
        };
        connection.send(head);
        let answer = connection.read(false).ok()??;
        leaks::search("an answer", &answer.head);
        leaks::search("an answer", &answer.body);
        let server = answer.header(NUMBER_HEADER)?.parse().ok()?;
        self.connection = Some((address, connection));
        Some(Answered { status: answer.status, server })
    }
}

fn answer_of(status: u16) -> Answer {
    match status {
        200 => Answer::Accepted,
        401 => Answer::Refused,
        503 => Answer::Unavailable,
        other => Answer::Other(other),
    }
}
