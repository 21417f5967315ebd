//! HTTP/1.1 as raw bytes, for every client of the tests. The functions return errors instead of
//! panicking, because a server under test may send anything.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// The beginning of the error for a silent server.
pub(crate) const NO_ANSWER: &str = "no answer";
/// Time after which the server counts as silent.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A response as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the received order, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns the first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Returns every line of the head except the date, sorted. The order in which actix-web sends
    /// these lines depends on the worker.
    pub(crate) fn lines_without_date(&self) -> Vec<&[u8]> {
        let lines = self.head.split_inclusive(|&byte| byte == b'\n');
        let is_date = |line: &[u8]| line.len() > 5 && line[..5].eq_ignore_ascii_case(b"date:");
        let mut lines: Vec<&[u8]> = lines.filter(|line| !is_date(line)).collect();
        lines.sort_unstable();
        lines
    }

    /// Returns every byte of the response except the date line.
    pub(crate) fn without_date(&self) -> Vec<u8> {
        let mut bytes = self.lines_without_date().concat();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        let text = text.as_bytes();
        [&self.head, &self.body]
            .iter()
            .any(|part| part.windows(text.len()).any(|window| window == text))
    }

    /// Returns whether the response has `Connection: close`.
    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    closing: bool,
    timeout: Duration,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self, String> {
        Self::with_timeout(address, TIMEOUT)
    }

    /// Opens a connection with this timeout for every operation.
    pub(crate) fn with_timeout(address: SocketAddr, timeout: Duration) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&address, timeout)
            .map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream
            .set_read_timeout(Some(timeout))
            .and_then(|()| stream.set_write_timeout(Some(timeout)))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(|error| error.to_string())?;
        Ok(Self { stream, received: Vec::new(), closing: false, timeout })
    }

    /// Sends these bytes. It is not an error if the server has answered already and closed the
    /// connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Closes the sending side.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Returns whether another request may be sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.closing
    }

    /// Reads the next final response and skips interim responses. Returns `None` if the server
    /// closed the connection.
    pub(crate) fn read(&mut self, to_head: bool) -> Result<Option<Answer>, String> {
        loop {
            let Some(answer) = self.read_one(to_head)? else {
                self.closing = true;
                return Ok(None);
            };
            self.closing |= answer.closes() || answer.status == 101;
            if !(100..200).contains(&answer.status) || answer.status == 101 {
                return Ok(Some(answer));
            }
        }
    }

    /// Reads every response until the server closes the connection.
    pub(crate) fn read_to_end(&mut self) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        while let Some(answer) = self.read(false)? {
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Reads one response, which may be an interim response. Returns `None` if the server closed
    /// the connection.
    pub(crate) fn read_one(&mut self, to_head: bool) -> Result<Option<Answer>, String> {
        let Some(head_end) = self.receive_until(b"\r\n\r\n")? else {
            return Ok(None);
        };
        let head: Vec<u8> = self.received.drain(..head_end).collect();
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| format!("no status line: {text:?}"))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, head, body: Vec::new() };
        if to_head || matches!(status, 100..200 | 204 | 304) {
            return Ok(Some(answer));
        }
        answer.body = if answer.header("transfer-encoding") == Some("chunked") {
            self.read_chunks()?
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|_| format!("not a length: {length:?}"))?;
            self.read_exactly(length)?
        } else {
            while self.receive()? {}
            std::mem::take(&mut self.received)
        };
        Ok(Some(answer))
    }

    /// Returns where this text ends in the received bytes, or `None` if the server closed the
    /// connection without sending anything more.
    fn receive_until(&mut self, text: &[u8]) -> Result<Option<usize>, String> {
        loop {
            let found = self.received.windows(text.len()).position(|window| window == text);
            if let Some(position) = found {
                return Ok(Some(position + text.len()));
            }
            if !self.receive()? {
                return if self.received.is_empty() {
                    Ok(None)
                } else {
                    let rest = self.received.escape_ascii();
                    Err(format!("closed within an answer: {rest}"))
                };
            }
        }
    }

    /// Receives more bytes. Returns `false` if the server has closed the connection.
    fn receive(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 16_384];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!("{NO_ANSWER} within {:?}", self.timeout))
            }
            // A reset means that the server closed the connection while bytes were in transit.
            Err(_) => Ok(false),
        }
    }

    fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.received.len() < length {
            if !self.receive()? {
                return Err("closed within a body".to_owned());
            }
        }
        Ok(self.received.drain(..length).collect())
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let end = self.receive_until(b"\r\n")?.ok_or("closed within a chunked body")?;
            let line: Vec<u8> = self.received.drain(..end).collect();
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|line| usize::from_str_radix(line.trim(), 16).ok())
                .ok_or("not the size of a chunk")?;
            let with_line_end = size.checked_add(2).ok_or("a chunk is too long")?;
            let chunk = self.read_exactly(with_line_end)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
