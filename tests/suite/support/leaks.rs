//! Every log line, at every level, and every answer of the whole suite is searched for every secret
//! it has issued: the key's body, in pieces of eight characters, and its digest in hexadecimal, in
//! pieces of sixteen. The first leak ends the run.

use std::{
    collections::HashSet,
    io::{self, Write as _},
    sync::{LazyLock, RwLock},
};

use api_key_runtime::admin::IssuedKey;

/// Of a key: 62^8 is 2e14, never found by chance.
const KEY_PIECE: usize = 8;
/// Of a digest: eight of its characters are often a number, which many a log line holds.
const DIGEST_PIECE: usize = 16;
/// Prefix and hint, which are shown.
const SHOWN: usize = "ak_live_".len() + 4;

static PIECES: LazyLock<RwLock<HashSet<Vec<u8>>>> = LazyLock::new(RwLock::default);

/// Searches everything from now on for this key.
pub(crate) fn watch(issued: &IssuedKey) {
    let digest = super::hex(issued.record.digest.as_bytes());
    let secrets = [
        (&issued.secret.expose_secret()[SHOWN..], KEY_PIECE),
        (&digest, DIGEST_PIECE),
        (&digest.to_uppercase(), DIGEST_PIECE),
    ];
    let mut pieces = PIECES.write().unwrap();
    let all = secrets.iter().flat_map(|(secret, _)| secret.bytes());
    assert!(all.into_iter().all(is_of_a_secret), "else it would not be found");
    for (secret, length) in secrets {
        pieces.extend(secret.as_bytes().windows(length).map(<[u8]>::to_vec));
    }
}

/// Whether a piece of a secret is in this.
pub(crate) fn found_in(text: &[u8]) -> bool {
    let pieces = PIECES.read().unwrap();
    // Only where a piece can end: most of a log is words that are shorter than one, and there is
    // much of it.
    let mut run = 0;
    for (last, byte) in text.iter().enumerate() {
        run = if is_of_a_secret(*byte) { run + 1 } else { 0 };
        let ends_a_piece =
            |length| run >= length && pieces.contains(&text[last + 1 - length..=last]);
        if ends_a_piece(KEY_PIECE) || ends_a_piece(DIGEST_PIECE) {
            return true;
        }
    }
    false
}

/// Letters and digits, and the hyphens of a UUID.
fn is_of_a_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Ends the run when a piece of a secret is in this, whichever test is to blame.
pub(crate) fn search(what: &str, text: &[u8]) {
    if found_in(text) {
        // Past the test's own output, which would be lost.
        let leaked = format!("a secret leaked into {what}: {}\n", String::from_utf8_lossy(text));
        let _ = io::stderr().write_all(leaked.as_bytes());
        std::process::exit(101);
    }
}
