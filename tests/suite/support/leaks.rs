//! Every log line, at every level, and every answer of the whole suite is searched for every secret it has issued: the key's body, in
//! pieces of eight characters, and its digest in hexadecimal. The first leak ends the run.

use std::{
    collections::HashSet,
    sync::{LazyLock, RwLock},
};

use api_key_runtime::IssuedKey;

/// Short enough to find a piece, long enough never to be found by chance: 62^8 is 2e14.
const PIECE: usize = 8;
/// Prefix and hint, which are shown.
const SHOWN: usize = "ak_live_".len() + 4;

static PIECES: LazyLock<RwLock<HashSet<[u8; PIECE]>>> = LazyLock::new(RwLock::default);

/// Searches everything from now on for this key.
pub(crate) fn watch(issued: &IssuedKey) {
    let digest = issued
        .record
        .digest
        .as_bytes()
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let mut pieces = PIECES.write().unwrap();
    for secret in [
        &issued.secret.expose()[SHOWN..],
        &digest,
        &digest.to_uppercase(),
    ] {
        pieces.extend(
            secret
                .as_bytes()
                .windows(PIECE)
                .filter_map(|piece| <[u8; PIECE]>::try_from(piece).ok()),
        );
    }
}

/// Whether a piece of a secret is in this.
pub(crate) fn found_in(text: &[u8]) -> bool {
    let pieces = PIECES.read().unwrap();
    text.windows(PIECE)
        .any(|window| <[u8; PIECE]>::try_from(window).is_ok_and(|window| pieces.contains(&window)))
}

/// Ends the run when a piece of a secret is in this, whichever test is to blame.
pub(crate) fn search(what: &str, text: &[u8]) {
    if found_in(text) {
        eprintln!(
            "a secret leaked into {what}: {}",
            String::from_utf8_lossy(text)
        );
        std::process::exit(101);
    }
}
