//! The rows of a CSV file with keys. No message contains a part of a row, because any column may
//! contain a key.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use api_key_runtime::admin::{AllowedIps, ImportedKey};
use chrono::{DateTime, Utc};
use csv::{ByteRecord, ReaderBuilder};

use crate::{failure::Failure, values::moment};

/// All column names. The first line of a file has some of these names, in any order.
const COLUMNS: [&str; 7] = ["key", "digest", "name", "ip", "owner", "scopes", "expires"];

/// The form of a CSV file: whether it has keys or digests, and the IP allow list for all rows.
pub(crate) struct Form {
    /// Whether the file has SHA-256 digests instead of keys.
    pub(crate) is_digests: bool,
    /// The IP allow list of every key, if the file has no column for it.
    pub(crate) allowed_ips: Option<AllowedIps>,
}

/// The rows of a file, each with the number of its line.
pub(crate) struct Rows<R> {
    reader: csv::Reader<Counted<R>>,
    form: Form,
    /// The names of the columns of this file, in order.
    columns: Vec<&'static str>,
    record: ByteRecord,
    is_failed: bool,
}

impl<R: Read> Rows<R> {
    /// Reads the first line. `read` is updated with the number of bytes read so far.
    pub(crate) fn new(input: R, form: Form, read: Rc<Cell<u64>>) -> Result<Self, Failure> {
        let counted = Counted { inner: input, read, has_crlf: None };
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(counted);
        let header = reader.byte_headers().map_err(|error| Failure::Csv {
            name: "the first line of the CSV file".to_owned(),
            source: error.into(),
        })?;
        let columns = columns(header, &form).map_err(Failure::Columns)?;
        Ok(Self { reader, form, columns, record: ByteRecord::new(), is_failed: false })
    }

    /// Returns the text of a column, without surrounding white space. Returns `None` if the column
    /// is missing or empty.
    fn field(&self, name: &str) -> Result<Option<&str>, &'static str> {
        let Some(position) = self.columns.iter().position(|column| *column == name) else {
            return Ok(None);
        };
        let bytes = self.record.get(position).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| "the row is not UTF-8")?;
        // White space around a key is kept, so a key with such white space is refused later.
        let text = if name == "key" { text } else { text.trim() };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Returns the first line of the row. The position of the record is wrong after empty lines, so
    /// this function also counts back from the end of the row. A last row without a line break ends
    /// on its own line.
    fn line(&self) -> u64 {
        let breaks = self.record.iter().flatten().filter(|&&byte| byte == b'\n').count();
        let breaks = u64::try_from(breaks).unwrap_or_default();
        let begin = self.record.position().map_or(0, csv::Position::line);
        let end = self.reader.position().line();
        // The reader stops at the CR of a line break, and has not counted the LF yet.
        if self.reader.get_ref().has_crlf == Some(true) {
            begin.saturating_add(1).max(end.saturating_sub(breaks))
        } else {
            begin.max(end.saturating_sub(1).saturating_sub(breaks))
        }
    }

    fn key(&self) -> Result<ImportedKey, &'static str> {
        if self.record.len() != self.columns.len() {
            return Err("the row and the first line have different numbers of fields");
        }
        let mut key = if self.form.is_digests {
            let digest = self.field("digest")?.and_then(hex_digest);
            ImportedKey::from_sha256(digest.ok_or("the digest is not 64 hexadecimal digits")?)
        } else {
            ImportedKey::new(self.field("key")?.unwrap_or_default())
        };
        key = match (self.field("ip")?, &self.form.allowed_ips) {
            (Some("any"), _) => key.allow_any(),
            (Some(ips), _) => key.allow(ips).map_err(
                |_| "the column `ip` is not a list of IP addresses or CIDR blocks, separated by spaces",
            )?,
            (None, Some(ips)) if !self.columns.contains(&"ip") => {
                key.allow(ips).map_err(|_| "the IP allow list is not valid")?
            }
            (None, _) => return Err("the row has no IP address: write one, or `any` to allow every address"),
        };
        if let Some(scopes) = self.field("scopes")? {
            key =
                key.scopes(scopes).map_err(|_| "the column `scopes` contains an invalid scope")?;
        }
        if let Some(owner) = self.field("owner")? {
            key = key.owner(owner);
        }
        if let Some(end) = self.field("expires")?.filter(|end| *end != "never") {
            key = key.expires_at(expiry(end)?);
        }
        Ok(key.name(self.field("name")?.unwrap_or_default()))
    }
}

fn expiry(text: &str) -> Result<DateTime<Utc>, &'static str> {
    moment(text).ok_or("the expiry is not a time such as 2030-01-31T00:00:00Z, and not `never`")
}

/// Returns the columns that the first line names, or a message about a wrong first line.
fn columns(header: &ByteRecord, form: &Form) -> Result<Vec<&'static str>, String> {
    let mut columns: Vec<&'static str> = Vec::new();
    for name in header {
        let name = String::from_utf8_lossy(name);
        let name = name.trim_start_matches('\u{feff}').trim().to_ascii_lowercase();
        let known = COLUMNS.into_iter().find(|column| *column == name);
        match known {
            Some(column) if !columns.contains(&column) => columns.push(column),
            // The message does not contain the name: in a file without column names, it could be a
            // key.
            _ => {
                return Err(format!(
                    "the first line of the CSV file has an unknown or repeated column at position {}; it must name the columns: {}",
                    columns.len() + 1,
                    COLUMNS.join(", ")
                ));
            }
        }
    }
    let (wanted, other) = if form.is_digests { ("digest", "key") } else { ("key", "digest") };
    if columns.contains(&other) || !columns.contains(&wanted) {
        return Err(if form.is_digests {
            "with --digests the first line of the CSV file must name a column `digest`, and no column `key`".to_owned()
        } else {
            "the first line of the CSV file must name a column `key`; for a column `digest` add --digests sha256".to_owned()
        });
    }
    if !columns.contains(&"ip") && form.allowed_ips.is_none() {
        return Err(
            "the CSV file has no column `ip`; add the column, or the option --ip with the IP allow list of every key, such as --ip any"
                .to_owned(),
        );
    }
    Ok(columns)
}

fn hex_digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

impl<R: Read> Iterator for Rows<R> {
    type Item = (u64, Result<ImportedKey, &'static str>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_failed {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => Some((self.line(), self.key())),
            // The rest of the file is unknown. A refused row makes the whole import fail.
            Err(_) => {
                self.is_failed = true;
                Some((self.reader.position().line(), Err("the file cannot be read from here on")))
            }
        }
    }
}

/// A reader that counts the bytes read.
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
    /// Whether the first line ends with CR and LF. `None` before the end of the first line.
    has_crlf: Option<bool>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.has_crlf.is_none() {
            let mut lines = buffer.get(..count).unwrap_or_default().split(|&byte| byte == b'\n');
            let first = lines.next().unwrap_or_default();
            self.has_crlf = lines.next().map(|_| first.last() == Some(&b'\r'));
        }
        self.read.set(self.read.get().saturating_add(u64::try_from(count).unwrap_or(0)));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, is_digests: bool, ips: Option<&str>) -> Result<Vec<(u64, bool)>, String> {
        let form = Form { is_digests, allowed_ips: ips.map(|ips| ips.parse().unwrap()) };
        let rows = Rows::new(text.as_bytes(), form, Rc::default());
        let rows = rows.map_err(|failure| failure.to_string())?;
        Ok(rows.map(|(line, key)| (line, key.is_ok())).collect())
    }

    // I3
    #[test]
    fn the_first_line_names_the_columns() {
        assert_eq!(rows("\u{feff}Key , ip\nk,any\n", false, None), Ok(vec![(2, true)]));
        assert_eq!(rows("key\nk\n", false, Some("10.0.0.0/8")), Ok(vec![(2, true)]));
        for (text, is_digests, expected) in [
            ("key,ip,scope\n", false, "at position 3"),
            ("key,key\n", false, "at position 2"),
            ("", false, "column `key`"),
            ("6fa459ea-ee8a-3ca4-894e-db77e160355e,any\n", false, "at position 1"),
            ("digest,ip\n", false, "--digests sha256"),
            ("key,ip\n", true, "column `digest`"),
            ("key,name\n", false, "--ip any"),
        ] {
            let message = rows(text, is_digests, None).unwrap_err();
            assert!(message.contains(expected) && !message.contains("6fa"), "{message}");
        }
    }

    // I3
    #[test]
    fn a_row_is_known_by_its_line() {
        let text = "key,ip,name,owner,scopes,expires\n\
            k,any,n,o,a b,2030-01-31T00:00:00Z\n\
            k,10.0.0.0/8 ::1,\"two\nlines\",,,never\n\
            k,,n,,,\n\
            \n\
            k,any\n\
            k,10.0.0.1/8,,,,\n\
            k,any,,,\"a,b\",\n\
            k,any,,,,tomorrow\n\
            k,any,,,,";
        let expected = [
            (2, true),
            (3, true),
            (5, false),
            (7, false),
            (8, false),
            (9, false),
            (10, false),
            (11, true),
        ];
        assert_eq!(rows(text, false, None), Ok(expected.to_vec()));
        assert_eq!(rows(&text.replace('\n', "\r\n"), false, None), Ok(expected.to_vec()));
    }

    // I3
    #[test]
    fn a_digest_has_64_hexadecimal_digits() {
        assert_eq!(hex_digest(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(hex_digest(&"0F".repeat(32)), Some([15; 32]));
        for bad in ["", "0f", &"+f".repeat(32), &"0g".repeat(32), &"\u{e9}".repeat(32)] {
            assert_eq!(hex_digest(bad), None, "{bad}");
        }
    }
}
