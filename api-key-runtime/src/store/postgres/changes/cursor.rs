//! Up to where changes were read: a snapshot, and of which tables of which server.

use crate::store::ChangeCursor;

const VERSION: &str = "pg1";

/// The parts of a cursor's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cursor<'a> {
    /// The snapshot that the changes were read in, as the server writes it.
    pub(super) snapshot: &'a str,
    /// Microseconds since 1970 by the server's clock.
    pub(super) read_at: i64,
    /// The server's process that read them, by its number.
    pub(super) process: i32,
    /// Of which server, database and tables, and of which state of their triggers.
    pub(super) place: &'a str,
}

impl<'a> Cursor<'a> {
    /// `None` where it is not of our making: then nothing is known to have been read.
    pub(super) fn parse(cursor: &'a ChangeCursor) -> Option<Self> {
        let mut parts = cursor.as_str().split(' ');
        let (Some(VERSION), Some(snapshot), Some(read_at), Some(process), Some(place), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let read_at = read_at.parse().ok()?;
        let process = process.parse().ok()?;
        is_snapshot(snapshot).then_some(Self { snapshot, read_at, process, place })
    }

    pub(super) fn format(&self) -> ChangeCursor {
        let Self { snapshot, read_at, process, place } = self;
        ChangeCursor::new(format!("{VERSION} {snapshot} {read_at} {process} {place}"))
    }

    /// The first number that no transaction had when the snapshot was taken.
    pub(super) fn end(&self) -> Option<u64> {
        self.snapshot.split(':').nth(1).and_then(xid)
    }
}

/// Whether the server takes it for a snapshot, `xmin:xmax:xid,xid,..`: one that it refuses would fail every read to come.
fn is_snapshot(text: &str) -> bool {
    let mut parts = text.split(':');
    let (Some(xmin), Some(xmax), Some(running), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Some(xmin), Some(xmax)) = (xid(xmin), xid(xmax)) else {
        return false;
    };
    let mut last = xmin;
    xmin <= xmax
        && (running.is_empty()
            || running.split(',').all(|text| {
                xid(text).is_some_and(|xid| {
                    let follows = last <= xid && xid < xmax;
                    last = xid;
                    follows
                })
            }))
}

fn xid(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&xid: &u64| is_number && xid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_was_made_of() {
        let cursor = Cursor {
            snapshot: "740:745:740,742",
            read_at: 1_800_000_000_000_000,
            process: 4711,
            place: "-5/740.741",
        };
        assert_eq!(Cursor::parse(&cursor.format()), Some(cursor));
    }

    #[test]
    fn what_the_server_would_refuse_is_no_cursor() {
        for snapshot in ["740:740:", "740:745:", "740:745:740", "740:745:741,741,744"] {
            let text = format!("pg1 {snapshot} 1 2 x");
            assert!(Cursor::parse(&ChangeCursor::new(text)).is_some(), "{snapshot}");
        }
        for snapshot in [
            "",
            ":",
            "740:745",
            "0:745:",
            "746:745:",
            "740:745:745",
            "740:745:739",
            "740:745:742,741",
            "740:745:,",
            "740:745:x",
            "+740:745:",
            "740:745:740:",
            "740:99999999999999999999:",
        ] {
            let text = format!("pg1 {snapshot} 1 2 x");
            assert!(Cursor::parse(&ChangeCursor::new(text)).is_none(), "{snapshot}");
        }
        for text in [
            "",
            "pg1",
            "pg2 1:1: 1 2 x",
            "pg1 1:1: x 2 x",
            "pg1 1:1: 1 x x",
            "pg1 1:1: 1 2",
            "pg1 1:1: 1 2 x x",
        ] {
            assert!(Cursor::parse(&ChangeCursor::new(text)).is_none(), "{text}");
        }
    }
}
