//! Requests as raw bytes, well-formed or not.

use std::fmt::{self, Write as _};

pub(super) use crate::support::wire::{Answer, Connection};

/// A request built line by line. Unlike a client library, it also allows invalid requests.
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

    /// Adds a whole header line, without its line end.
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

    /// Adds a body with its content type and length.
    pub(super) fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len();
        self.line(format!("Content-Type: {content_type}"))
            .line(format!("Content-Length: {length}"))
            .tail(body)
    }

    /// Adds bytes after the head, even if no header announces them.
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

/// Formats a shortened head for the report of a failed case.
impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(120)].escape_ascii().to_string();
        write!(formatter, "{} {}", self.method, cut(&self.target))?;
        self.lines.iter().try_for_each(|line| write!(formatter, " | {}", cut(line)))
    }
}

/// Returns the text with every byte percent-encoded.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02x}");
        encoded
    })
}
