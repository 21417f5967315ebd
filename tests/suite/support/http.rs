//! A client that sends exactly the bytes a test gives it, and reads what comes back. One connection per client, kept alive.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use super::leaks;

/// How long a test waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answer as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// In the order they came, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header that comes at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values =
            self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} came twice: {:?}", self.headers);
        first
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Everything but the `date`, to compare two answers byte by byte.
    pub(crate) fn without_date(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Sends these bytes and nothing else. A server that has answered already may have closed: not an error.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Reads one response. `None` when the connection was closed before one came.
    pub(crate) fn read(&mut self, to_head: bool) -> Option<Response> {
        let head_end = loop {
            if let Some(position) =
                self.received.windows(4).position(|window| window == b"\r\n\r\n")
            {
                break position + 4;
            }
            if !self.receive() {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.received[..head_end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        self.received.drain(..head_end);
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map(|(_, value)| value.parse::<usize>().unwrap());
        let chunked =
            headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body = if to_head || status == 204 || status == 304 || (100..200).contains(&status) {
            Vec::new()
        } else if chunked {
            self.read_chunks()
        } else {
            let length = length.expect("a response has a length or comes in chunks");
            self.read_exactly(length)
        };
        leaks::search("an answer", head.as_bytes());
        leaks::search("an answer", &body);
        Some(Response { status, headers, body })
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0; 16_384];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no answer within {PATIENCE:?}")
            }
            Err(_) => false,
        }
    }

    fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            assert!(self.receive(), "the connection was closed within a body");
        }
        self.received.drain(..length).collect()
    }

    fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(position) =
                    self.received.windows(2).position(|window| window == b"\r\n")
                {
                    break position;
                }
                assert!(self.receive(), "the connection was closed within a body");
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&self.received[..line_end]).unwrap(), 16)
                    .unwrap();
            self.received.drain(..line_end + 2);
            let chunk = self.read_exactly(size + 2);
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Sends one request without a body on a connection of its own. `headers` are whole lines.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
) -> Response {
    let mut client = Client::connect(address);
    client.send(head(method, target, headers));
    client.read(method == "HEAD").expect("the connection was closed without an answer")
}

/// The head of a request.
pub(crate) fn head(method: &str, target: &str, headers: &[&str]) -> String {
    let lines: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// `GET` with these header lines.
pub(crate) fn get(address: SocketAddr, target: &str, headers: &[&str]) -> Response {
    request(address, "GET", target, headers)
}

/// `GET` with a bearer key.
pub(crate) fn get_with(address: SocketAddr, target: &str, key: &str) -> Response {
    get(address, target, &[&format!("Authorization: Bearer {key}")])
}
