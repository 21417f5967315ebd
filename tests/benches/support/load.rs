//! Load over loopback HTTP. One thread drives keep-alive connections, each with at most one request
//! in flight.
//!
//! The thread does as little as possible per response, so that the results measure the server.

use std::{
    io::{ErrorKind, Read, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

/// Time after which a missing response fails the benchmark.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Buffer size, larger than any response of the benchmarks.
const MAX_ANSWER: usize = 4096;

/// Returns the bytes of a request with this key, as a typical client sends them.
pub(crate) fn get(path: &str, key: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\
         Accept-Encoding: gzip, deflate\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
    .into_bytes()
}

/// Many connections, driven by the calling thread.
pub(crate) struct Load {
    poll: Poll,
    connections: Vec<Connection<TcpStream>>,
}

/// The result of a run.
pub(crate) struct Run {
    pub(crate) answers: usize,
    pub(crate) seconds: f64,
}

impl Run {
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }
}

impl Load {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Self {
        let poll = Poll::new().unwrap();
        let connections = (0..count).map(|number| {
            let stream = connect(address);
            stream.set_nonblocking(true).unwrap();
            let mut stream = TcpStream::from_std(stream);
            let token = Token(number);
            poll.registry().register(&mut stream, token, Interest::READABLE).unwrap();
            Connection::new(stream)
        });
        Self { connections: connections.collect(), poll }
    }

    /// Sends the requests that `next` returns over all connections in parallel, until `next`
    /// returns `None`. Every response must be 200.
    pub(crate) fn run<'a>(&mut self, mut next: impl FnMut() -> Option<&'a [u8]>) -> Run {
        let started = Instant::now();
        let mut events = Events::with_capacity(self.connections.len());
        let (mut answers, mut busy) = (0, 0);
        for connection in &mut self.connections {
            if let Some(request) = next() {
                connection.stream.write_all(request).unwrap();
                busy += 1;
            }
        }
        while busy > 0 {
            self.poll.poll(&mut events, Some(RESPONSE_TIMEOUT)).unwrap();
            assert!(!events.is_empty(), "no response within {RESPONSE_TIMEOUT:?}");
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                let Some(status) = connection.receive() else {
                    continue;
                };
                assert_eq!(status, 200);
                answers += 1;
                match next() {
                    Some(request) => connection.stream.write_all(request).unwrap(),
                    None => busy -= 1,
                }
            }
        }
        Run { answers, seconds: started.elapsed().as_secs_f64() }
    }

    /// Sends these requests in turn, as [`run`](Self::run) does, until this time is over.
    pub(crate) fn run_for(&mut self, time: Duration, requests: &[Vec<u8>]) -> Run {
        let started = Instant::now();
        let mut requests = requests.iter().cycle();
        self.run(|| {
            let request = requests.next().map(Vec::as_slice);
            request.filter(|_| started.elapsed() < time)
        })
    }
}

/// One connection whose caller waits for each response.
pub(crate) struct Client(Connection<std::net::TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = connect(address);
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
        Self(Connection::new(stream))
    }

    /// Sends a request and returns the status of its response.
    pub(crate) fn status(&mut self, request: &[u8]) -> u16 {
        self.0.stream.write_all(request).unwrap();
        loop {
            if let Some(status) = self.0.receive() {
                return status;
            }
        }
    }
}

fn connect(address: SocketAddr) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

struct Connection<S> {
    stream: S,
    buffer: Box<[u8; MAX_ANSWER]>,
    received: usize,
}

impl<S: Read> Connection<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: Box::new([0; MAX_ANSWER]), received: 0 }
    }

    /// Reads once, and returns the status if the response is complete. The buffer is never full, so
    /// one read empties the socket.
    fn receive(&mut self) -> Option<u16> {
        match self.stream.read(&mut self.buffer[self.received..]) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(length) => self.received += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
        assert!(self.received < MAX_ANSWER, "a response is too long");
        let answer = &self.buffer[..self.received];
        let whole = head_length(answer)? + body_length(answer);
        if self.received < whole {
            return None;
        }
        assert_eq!(self.received, whole, "more than one response");
        self.received = 0;
        // `HTTP/1.1 200 OK`
        std::str::from_utf8(&answer[9..12]).ok()?.parse().ok()
    }
}

fn head_length(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Returns the `Content-Length` of a response whose header section is complete.
fn body_length(answer: &[u8]) -> usize {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let at = answer.windows(NAME.len()).position(|bytes| bytes == NAME);
    let digits = &answer[at.expect("every response has a content length") + NAME.len()..];
    digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}
