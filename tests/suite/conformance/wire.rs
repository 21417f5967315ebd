//! HTTP/1.1 as bytes: what a caller sends, well-formed or not, and what comes back. Nothing here panics: a server under judgement may
//! answer anything.

use std::{
    fmt::{self, Write as _},
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// What is said of a server that is silent.
pub(super) const NO_ANSWER: &str = "no answer";
/// How long an answer may take before the server counts as silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, put together line by line; what a client library would refuse to send is sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: String,
    target: Vec<u8>,
    lines: Vec<Vec<u8>>,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn new(method: &str, target: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            lines: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn get(target: impl Into<Vec<u8>>) -> Self {
        Self::new("GET", target)
    }

    /// A header line, whole and without its end.
    pub(super) fn line(mut self, line: impl Into<Vec<u8>>) -> Self {
        self.lines.push(line.into());
        self
    }

    pub(super) fn bearer(self, key: &str) -> Self {
        self.line(format!("Authorization: Bearer {key}"))
    }

    pub(super) fn api_key(self, key: &str) -> Self {
        self.line(format!("X-API-Key: {key}"))
    }

    /// A body that comes as announced.
    pub(super) fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len();
        self.line(format!("Content-Type: {content_type}"))
            .line(format!("Content-Length: {length}"))
            .tail(body)
    }

    /// Bytes after the head, whatever the head says of them.
    pub(super) fn tail(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.body.len());
        bytes.extend_from_slice(self.method.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(&self.target);
        bytes.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
        for line in &self.lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The head, cut where it is long: for the report of a case that failed.
impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(120)].escape_ascii().to_string();
        write!(formatter, "{} {}", self.method, cut(&self.target))?;
        self.lines.iter().try_for_each(|line| write!(formatter, " | {}", cut(line)))
    }
}

/// Every byte of it percent-encoded.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02x}");
        encoded
    })
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In the order they came, names in lower case.
    pub(super) headers: Vec<(String, String)>,
    head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Every line of its head but that of the date, in order of the alphabet: in which order actix-web sends them depends on the worker
    /// alone.
    pub(super) fn lines_without_date(&self) -> Vec<&[u8]> {
        let lines = self.head.split_inclusive(|&byte| byte == b'\n');
        let is_date = |line: &[u8]| line.len() > 5 && line[..5].eq_ignore_ascii_case(b"date:");
        let mut lines: Vec<&[u8]> = lines.filter(|line| !is_date(line)).collect();
        lines.sort_unstable();
        lines
    }

    /// Every byte of it but the line of the date.
    pub(super) fn without_date(&self) -> Vec<u8> {
        let mut bytes = self.lines_without_date().concat();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        let text = text.as_bytes();
        [&self.head, &self.body]
            .iter()
            .any(|part| part.windows(text.len()).any(|window| window == text))
    }

    /// Whether the server says that it will close, or said nothing and is of HTTP/1.0.
    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    closing: bool,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address)
            .map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_nodelay(true))
            .map_err(|error| error.to_string())?;
        Ok(Self { stream, received: Vec::new(), closing: false })
    }

    /// Sends these bytes. A server that has answered already may have closed, which is no fault.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether another request may be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.closing
    }

    /// The next answer, after any interim ones; none when the server closed instead.
    pub(super) fn read(&mut self, to_head: bool) -> Result<Option<Answer>, String> {
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

    /// Every answer until the server closes.
    pub(super) fn read_to_end(&mut self) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        while let Some(answer) = self.read(false)? {
            answers.push(answer);
        }
        Ok(answers)
    }

    fn read_one(&mut self, to_head: bool) -> Result<Option<Answer>, String> {
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

    /// Where this text ends in what was received; none when the server closed before it came.
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

    /// False when the server has closed.
    fn receive(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 16_384];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!("{NO_ANSWER} within {PATIENCE:?}"))
            }
            // A reset is a server that closed while bytes for it were still on their way.
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
            let chunk = self.read_exactly(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}
