//! SHA-256 and HMAC-SHA-256 of messages that fit into one block.
//!
//! A native key fits into one block if its prefix has at most 11 characters. The hashers of `sha2`
//! and `hmac` buffer their input, because a message may arrive in parts of any size. For one block,
//! buffering takes about as long as hashing (bench `instructions`). This module fills the block
//! directly and calls the compression function of `sha2`. Longer messages use the hashers of `sha2`
//! and `hmac`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, block_api::compress256};
use zeroize::Zeroizing;

/// The number of bytes in a block (FIPS 180-4, section 1).
const BLOCK: usize = 64;
/// Maximum length of a message that fits into one block with its padding (FIPS 180-4, section
/// 5.1.1).
const MAX_BYTES: usize = 55;
/// The state before the first block (FIPS 180-4, section 5.3.3).
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

type State = [u32; 8];

/// Computes the SHA-256 digest of a message of any length.
#[inline]
pub(super) fn sha256(message: &[u8]) -> [u8; 32] {
    if message.len() > MAX_BYTES { long_sha256(message) } else { last_block(INITIAL, 0, message) }
}

#[inline(never)]
fn long_sha256(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

/// A key of HMAC-SHA-256 (RFC 2104), prepared for many messages.
#[derive(Clone)]
pub(super) struct HmacKey {
    long: Hmac<Sha256>,
    /// The states after the first block of the inner and of the outer hash. These blocks depend
    /// only on the key.
    states: Zeroizing<[State; 2]>,
}

impl HmacKey {
    /// Prepares a key of any length. Returns `None` only if the library rejects the key.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let long = Hmac::new_from_slice(key).ok()?;
        let mut padded = Zeroizing::new([0; BLOCK]);
        let hashed;
        let key = if key.len() > BLOCK {
            hashed = Zeroizing::new(sha256(key));
            &hashed[..]
        } else {
            key
        };
        for (padded, &byte) in padded.iter_mut().zip(key) {
            *padded = byte;
        }
        let state_after = |pad: u8| {
            let mut state = INITIAL;
            compress256(&mut state, &[padded.map(|byte| byte ^ pad)]);
            state
        };
        Some(Self { long, states: Zeroizing::new([0x36, 0x5c].map(state_after)) })
    }

    /// Computes the HMAC of a message of any length.
    #[inline]
    pub(super) fn digest(&self, message: &[u8]) -> [u8; 32] {
        if message.len() > MAX_BYTES {
            return self.long_digest(message);
        }
        let [inner, outer] = *self.states;
        last_block(outer, BLOCK, &last_block(inner, BLOCK, message))
    }

    #[inline(never)]
    fn long_digest(&self, message: &[u8]) -> [u8; 32] {
        self.long.clone().chain_update(message).finalize().into_bytes().into()
    }
}

/// Hashes the end of a message, at most [`MAX_BYTES`] bytes, as the last block. `bytes_before` is
/// the number of bytes that were already hashed into `state`.
#[inline]
fn last_block(mut state: State, bytes_before: usize, end: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    // The compression function reads sixteen bytes at a time. If the block were written in other
    // units, the processor would have to wait for the writes.
    let (pieces, _) = block.as_chunks_mut::<16>();
    let (whole, _) = end.as_chunks::<16>();
    for (piece, whole) in pieces.iter_mut().zip(whole) {
        *piece = *whole;
    }
    if let Some(piece) = pieces.get_mut(whole.len()) {
        *piece = closed(end);
    }
    if let Some(length) = block.last_chunk_mut::<8>() {
        let bytes = u64::try_from(bytes_before.saturating_add(end.len())).unwrap_or(u64::MAX);
        *length = bytes.saturating_mul(8).to_be_bytes();
    }
    compress256(&mut state, &[block]);
    let mut digest = [0; 32];
    let (words, _) = digest.as_chunks_mut::<4>();
    for (bytes, word) in words.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Returns the bytes after the last whole sixteen bytes of a message, followed by the first bit of
/// the padding.
#[inline]
fn closed(message: &[u8]) -> [u8; 16] {
    let (_, rest) = message.as_chunks::<16>();
    let bits = u32::try_from(rest.len() * 8).unwrap_or(0);
    let bytes = match message.last_chunk() {
        // `last` also contains the bytes before `rest`, which are shifted out.
        Some(last) => u128::from_le_bytes(*last).unbounded_shr(128 - bits),
        None => rest.iter().rev().fold(0, |bytes, &byte| bytes << 8 | u128::from(byte)),
    };
    (bytes | 0x80 << bits).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns messages of every length up to 120 bytes. All messages of more than 55 bytes use the
    /// same code.
    fn messages() -> impl Iterator<Item = Vec<u8>> {
        (0..=120_u8).map(|length| (0..length).map(|byte| byte ^ 0xa5).collect())
    }

    // A6
    #[test]
    fn one_block_gives_the_digest_of_the_library() {
        for message in messages() {
            assert_eq!(sha256(&message), long_sha256(&message), "{} bytes", message.len());
        }
    }

    // A6
    #[test]
    fn one_block_gives_the_hmac_of_the_library() {
        for pepper in [1, 20, 32, 55, 56, 63, 64, 65, 100, 131] {
            let pepper: Vec<u8> = (0..pepper).map(|byte: u8| byte.wrapping_mul(7)).collect();
            let key = HmacKey::new(&pepper).unwrap();
            for message in messages() {
                assert_eq!(
                    key.digest(&message),
                    key.long_digest(&message),
                    "a pepper of {} bytes, {} bytes",
                    pepper.len(),
                    message.len()
                );
            }
        }
    }

    // A6
    #[test]
    fn one_block_gives_the_hmac_of_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 4] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (pepper, message, expected) in cases {
            let digest = HmacKey::new(pepper).unwrap().digest(message);
            let hex = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            assert_eq!(hex, expected);
        }
    }
}
