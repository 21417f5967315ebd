//! A client that sends exactly the given bytes, and panics if a response does not come in time.
//! Each client has one keep-alive connection.

use std::{net::SocketAddr, time::Duration};

use super::{leaks, wire::Connection};

/// Time after which a missing response fails a test.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A response as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// In the received order, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns the value of a header, which must not be repeated.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values =
            self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} is repeated: {:?}", self.headers);
        first
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Returns the response without its `date`, for comparison byte by byte.
    pub(crate) fn without_date(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }
}

/// A client with one connection.
pub(crate) struct Client(Connection);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self(Connection::with_timeout(address, TIMEOUT).unwrap())
    }

    /// Sends these bytes and nothing else. It is not an error if the server has answered already
    /// and closed the connection.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.send(bytes.as_ref());
        self
    }

    /// Reads one response. Returns `None` if the connection was closed before the response.
    pub(crate) fn read(&mut self, to_head: bool) -> Option<Response> {
        let answer = self.0.read_one(to_head).unwrap()?;
        leaks::search("an answer", &answer.head);
        leaks::search("an answer", &answer.body);
        Some(Response { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

/// Sends one request without a body on a new connection. Each header is a whole line.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
) -> Response {
    let mut client = Client::connect(address);
    client.send(head(method, target, headers));
    client.read(method == "HEAD").expect("the connection was closed without a response")
}

/// Returns the head of a request.
pub(crate) fn head(method: &str, target: &str, headers: &[&str]) -> String {
    let lines: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// Sends a `GET` with these header lines.
pub(crate) fn get(address: SocketAddr, target: &str, headers: &[&str]) -> Response {
    request(address, "GET", target, headers)
}

/// Sends a `GET` with a bearer key.
pub(crate) fn get_with(address: SocketAddr, target: &str, key: &str) -> Response {
    get(address, target, &[&format!("Authorization: Bearer {key}")])
}
