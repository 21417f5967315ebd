//! Finds native keys in files that leaked: repositories, logs, backups.

use std::{
    fmt,
    io::{self, Read},
};

use super::{
    KeySecret,
    format::{BODY_CHARS, HINT_CHARS, MAX_PREFIX_CHARS, checksum_holds, is_prefix},
};

/// The number of bytes to read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Finds every native key in text or binary input, by prefix and checksum.
///
/// A native key may have any prefix, so keys of every application are found. Other text is almost
/// never reported, because a text in the format of a key passes the checksum with a probability of
/// about 1 in 2^32. UUIDs and imported keys have no checksum and are not found. Memory use does not
/// depend on the length of the input.
///
/// ```
/// use api_key_runtime::{admin::{KeyScanner, NewKey}, test_util::TestKeys};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = TestKeys::new();
/// let key = keys.issue("");
/// let log = format!("GET /cakes\nkey={} ok\n", key.secret.expose_secret());
/// let found: Vec<_> = KeyScanner::new(log.as_bytes()).collect::<Result<_, _>>()?;
/// assert_eq!((found.len(), found[0].line), (1, 2));
/// # Ok(())
/// # }
/// ```
pub struct KeyScanner<R> {
    input: R,
    buffer: Vec<u8>,
    /// The position in the buffer where the search continues.
    next: usize,
    /// The numbers of bytes and of line ends in the input before `next`.
    bytes: u64,
    lines: u64,
    is_at_end: bool,
}

/// A native key that was found in an input.
#[derive(Debug)]
#[non_exhaustive]
pub struct FoundKey {
    /// The key.
    pub secret: KeySecret,
    /// The prefix and the next four characters of the key, which may be shown.
    pub hint: String,
    /// The line number of the key in the input, starting at 1.
    pub line: u64,
    /// The number of bytes before the key in the input.
    pub offset: u64,
}

impl<R: Read> KeyScanner<R> {
    /// Creates a scanner of this input.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), next: 0, bytes: 0, lines: 0, is_at_end: false }
    }

    /// Returns the next key in the buffer, and leaves the rest of the buffer for the next call.
    fn find(&mut self) -> Option<FoundKey> {
        loop {
            let rest = self.buffer.get(self.next..)?;
            let underscore = rest.iter().position(|&byte| byte == b'_').unwrap_or(rest.len());
            let start = self.next + underscore;
            let Some(end) =
                start.checked_add(1 + BODY_CHARS).filter(|&end| end <= self.buffer.len())
            else {
                // The body of a key may continue in bytes that were not read yet.
                let searched = if self.is_at_end { self.buffer.len() } else { start };
                self.skip_to(searched);
                return None;
            };
            if let Some(key) = key_around(&self.buffer, start, end) {
                let prefix = key.len() - BODY_CHARS;
                let hint = key.chars().take(prefix + HINT_CHARS).collect();
                let secret = KeySecret::new(key.to_owned());
                // Counts the lines up to the underscore at the end of the prefix. The whole key is
                // on that line.
                self.skip_to(start);
                let line = self.lines + 1;
                let offset = (self.bytes + 1).saturating_sub(u64::try_from(prefix).unwrap_or(0));
                self.skip_to(end);
                return Some(FoundKey { secret, hint, line, offset });
            }
            self.skip_to(start + 1);
        }
    }

    fn skip_to(&mut self, position: usize) {
        let skipped = self.buffer.get(self.next..position).unwrap_or_default();
        self.lines += skipped.iter().map(|&byte| u64::from(byte == b'\n')).sum::<u64>();
        self.bytes += u64::try_from(skipped.len()).unwrap_or(0);
        self.next = position;
    }

    /// Reads the next bytes. Keeps earlier bytes that may be the prefix of a key whose body was not
    /// searched yet.
    fn read(&mut self) -> io::Result<()> {
        let keep_from = self.next.saturating_sub(MAX_PREFIX_CHARS);
        self.buffer.drain(..keep_from);
        self.next -= keep_from;
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK_BYTES, 0);
        let read = loop {
            match self.input.read(self.buffer.get_mut(length..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + read.as_ref().copied().unwrap_or(0));
        self.is_at_end = read? == 0;
        Ok(())
    }
}

impl<R: Read> Iterator for KeyScanner<R> {
    type Item = io::Result<FoundKey>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.find() {
                return Some(Ok(found));
            }
            if self.is_at_end {
                return None;
            }
            if let Err(error) = self.read() {
                self.is_at_end = true;
                return Some(Err(error));
            }
        }
    }
}

/// Returns the key whose prefix ends with the underscore at `start` and whose body ends at `end`.
fn key_around(buffer: &[u8], start: usize, end: usize) -> Option<&str> {
    let body = std::str::from_utf8(buffer.get(start + 1..end)?).ok()?;
    if !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let first = (start + 1).saturating_sub(MAX_PREFIX_CHARS);
    (first..start).find_map(|at| {
        let key = std::str::from_utf8(buffer.get(at..end)?).ok()?;
        let prefix = key.get(..key.len().checked_sub(BODY_CHARS)?)?;
        (is_prefix(prefix) && checksum_holds(prefix, body)).then_some(key)
    })
}

impl<R> fmt::Debug for KeyScanner<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyScanner(..)")
    }
}

impl<R> Drop for KeyScanner<R> {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{FormatRules, KeyFormat, Prefix};

    fn issued(prefix: &str) -> String {
        let rules = FormatRules { prefix: Prefix::parse(prefix).unwrap(), accept_imported: false };
        rules.generate(KeyFormat::Native).unwrap().expose_secret().to_owned()
    }

    fn found(input: impl Read) -> Vec<(String, u64)> {
        let scanner = KeyScanner::new(input).map(Result::unwrap);
        scanner.map(|found| (found.secret.expose_secret().to_owned(), found.line)).collect()
    }

    /// A reader that returns one byte per read.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut buffer[..1])
        }
    }

    // I8
    #[test]
    fn keys_are_found_wherever_they_stand() {
        let (key, other, long) =
            (issued("ak_live_"), issued("x_"), issued("abcdefghij0123456789_"));
        let text = format!("a={key}\n\n{other}{long}\nxx{key}yy _{other}");
        let expected = [(&key, 1), (&other, 3), (&long, 3), (&key, 4), (&other, 4)]
            .map(|(key, line)| (key.clone(), line));
        assert_eq!(found(text.as_bytes()), expected);
        assert_eq!(found(Slow(text.as_bytes())), expected);
        let mut binary = vec![0xFF; CHUNK_BYTES - 30];
        binary.extend_from_slice(key.as_bytes());
        binary.push(0);
        assert_eq!(found(&*binary), [(key, 1)]);
    }

    // I8
    #[test]
    fn nothing_else_is_found() {
        let key = issued("ak_live_");
        let mut typo = key.clone();
        let last = if typo.pop() == Some('a') { 'b' } else { 'a' };
        typo.push(last);
        let others = [
            typo,
            key[1..].to_owned(),
            key[..key.len() - 1].to_owned(),
            key.replace("ak_live_", "ak_test_"),
            "_".repeat(200),
            String::new(),
        ];
        for other in others {
            assert_eq!(found(other.as_bytes()), [], "{other}");
        }
    }

    // I8
    #[test]
    fn a_key_across_a_buffer_boundary_is_found_in_bounded_memory() {
        let key = issued("ak_live_");
        for shift in 0..key.len() + 2 {
            let start = 3 * CHUNK_BYTES - shift;
            let mut input = b"ak_live_\n\0".repeat(CHUNK_BYTES);
            input[start..start + key.len()].copy_from_slice(key.as_bytes());
            let mut scanner = KeyScanner::new(&*input);
            let found = scanner.next().unwrap().unwrap();
            let line = input[..start].split(|&byte| byte == b'\n').count();
            assert_eq!((found.offset, found.line), (start as u64, line as u64), "{shift}");
            assert_eq!(found.secret.expose_secret(), key);
            assert!(scanner.next().is_none());
            assert!(scanner.buffer.capacity() < 3 * CHUNK_BYTES, "{}", scanner.buffer.capacity());
        }
    }

    #[test]
    fn the_hint_holds_four_characters_of_the_body() {
        let key = issued("ak_live_");
        let found = KeyScanner::new(key.as_bytes()).next().unwrap().unwrap();
        assert_eq!(found.hint, key[..12]);
        assert!(!format!("{found:?}").contains(&key[12..]));
    }
}
