//! Up to where changes were read: the last number of the log, and the token of its row.

use crate::store::ChangeCursor;

const VERSION: &str = "sqlite1";

/// The parts of a cursor's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cursor<'a> {
    /// The last number that the log has given out.
    pub(super) sequence: i64,
    /// The token of the row with this number, in hexadecimal; empty where that row is gone.
    pub(super) token: &'a str,
    /// Of which files, and of which state of their schema.
    pub(super) place: &'a str,
}

impl<'a> Cursor<'a> {
    /// `None` where it is not of our making: then nothing is known to have been read.
    pub(super) fn parse(cursor: &'a ChangeCursor) -> Option<Self> {
        let mut parts = cursor.as_str().split(' ');
        let (Some(VERSION), Some(sequence), Some(token), Some(place), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let sequence = sequence.parse().ok().filter(|&sequence| sequence >= 0)?;
        Some(Self { sequence, token, place })
    }

    pub(super) fn format(&self) -> ChangeCursor {
        let Self { sequence, token, place } = self;
        ChangeCursor::new(format!("{VERSION} {sequence} {token} {place}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_was_made_of_and_nothing_else_is_one() {
        for token in ["00ff", ""] {
            let cursor = Cursor { sequence: 17, token, place: "1.5/1.6/1.7/3" };
            assert_eq!(Cursor::parse(&cursor.format()), Some(cursor));
        }
        for text in
            ["", "sqlite1", "sqlite1 x 00 p", "sqlite1 -1 00 p", "sqlite1 1 00", "pg1 1 00 p"]
        {
            assert!(Cursor::parse(&ChangeCursor::new(text)).is_none(), "{text}");
        }
    }
}
