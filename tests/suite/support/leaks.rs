//! Searches every log line, at every level, and every response that the client in `http.rs` reads
//! for secrets. The search looks for eight-character pieces of the hidden part of each issued key,
//! and for sixteen-character pieces of the hexadecimal digest. The first leak ends the run.

use std::{
    collections::HashSet,
    io::{self, Write as _},
    sync::{LazyLock, RwLock},
};

use api_key_runtime::admin::IssuedKey;

/// The length of a piece of a key. There are 62^8 = 2e14 possible pieces, so none appears by
/// chance.
const KEY_PIECE: usize = 8;
/// The length of a piece of a digest. Eight hexadecimal characters may all be decimal digits, and
/// such a number may appear in a log line by chance.
const DIGEST_PIECE: usize = 16;
/// The length of the hint, which is not secret: the prefix and four more characters.
const SHOWN: usize = "ak_live_".len() + 4;

static PIECES: LazyLock<RwLock<HashSet<Vec<u8>>>> = LazyLock::new(RwLock::default);

/// Searches all later log lines and responses for this key.
pub(crate) fn watch(issued: &IssuedKey) {
    let digest = super::hex(issued.record.digest.as_bytes());
    let secrets = [
        (&issued.secret.expose_secret()[SHOWN..], KEY_PIECE),
        (&digest, DIGEST_PIECE),
        (&digest.to_uppercase(), DIGEST_PIECE),
    ];
    let mut pieces = PIECES.write().unwrap();
    let all = secrets.iter().flat_map(|(secret, _)| secret.bytes());
    assert!(
        all.into_iter().all(is_secret_character),
        "the search finds only letters, digits and hyphens"
    );
    for (secret, length) in secrets {
        pieces.extend(secret.as_bytes().windows(length).map(<[u8]>::to_vec));
    }
}

/// Returns whether the text contains a piece of a secret.
pub(crate) fn found_in(text: &[u8]) -> bool {
    let pieces = PIECES.read().unwrap();
    // Looks only where a piece can end, because logs are long and most words are shorter than a
    // piece.
    let mut run = 0;
    for (last, byte) in text.iter().enumerate() {
        run = if is_secret_character(*byte) { run + 1 } else { 0 };
        let ends_a_piece =
            |length| run >= length && pieces.contains(&text[last + 1 - length..=last]);
        if ends_a_piece(KEY_PIECE) || ends_a_piece(DIGEST_PIECE) {
            return true;
        }
    }
    false
}

/// Returns whether the byte is a letter, a digit or the hyphen of a UUID.
fn is_secret_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Ends the run if the text contains a piece of a secret.
pub(crate) fn search(what: &str, text: &[u8]) {
    if found_in(text) {
        // Writes directly to standard error, because captured output is lost when the process
        // exits.
        let leaked = format!("a secret leaked into {what}: {}\n", String::from_utf8_lossy(text));
        let _ = io::stderr().write_all(leaked.as_bytes());
        std::process::exit(101);
    }
}
