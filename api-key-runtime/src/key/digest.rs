//! The digest that the table holds instead of a key, with or without a pepper.
//!
//! A fast hash is enough for issued keys: a native key has 230 random bits and a UUID has 122, so
//! guessing is infeasible. A secret with at least 112 random bits needs no slow hash (NIST SP
//! 800-63B-4, section 3.1.2).

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::one_block::{HmacKey, sha256};
use crate::error::Error;

/// Minimum length of a pepper in bytes: the length of an HMAC-SHA-256 digest (RFC 2104, section 3).
const PEPPER_BYTES: usize = 32;
/// Input from which the public id of a pepper is derived. No key equals this input, because keys do
/// not contain spaces.
const PEPPER_ID_INPUT: &[u8] = b"api-key-runtime pepper id";
/// Accepted encodings of a pepper: both base64 alphabets of RFC 4648, with or without padding.
const PEPPER_ENCODINGS: [GeneralPurpose; 2] =
    [lenient(&alphabet::STANDARD), lenient(&alphabet::URL_SAFE)];

/// A SHA-256 or HMAC-SHA-256 digest of a key. Stores keep and look up keys by digest.
///
/// Digests are compared in constant time over all 32 bytes. `Debug` does not show the digest.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Returns the digest with these bytes, as a store reads them from its table.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, which a store binds to its query.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        // Each digest is compared as two 128-bit numbers. Comparing the digests byte by byte would
        // take as long as the hash itself.
        let ([low, high], []) = self.0.as_chunks::<16>() else {
            return false;
        };
        let ([other_low, other_high], []) = other.0.as_chunks::<16>() else {
            return false;
        };
        let is = |one: &[u8; 16], other: &[u8; 16]| {
            u128::from_ne_bytes(*one).ct_eq(&u128::from_ne_bytes(*other))
        };
        (is(low, other_low) & is(high, other_high)).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The length is the same for all digests, so it is not hashed.
        state.write(&self.0);
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyDigest(..)")
    }
}

/// The algorithm of a digest: `sha256`, or `hmac-sha256:` and the public id of the pepper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestAlgorithm(Box<str>);

impl DigestAlgorithm {
    /// Returns the algorithm stored in the column `digest_algorithm`. Accepts any text.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text stored in the column `digest_algorithm`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A hash function with its name in the table.
#[derive(Clone)]
struct KeyHasher {
    id: DigestAlgorithm,
    /// `None` means plain SHA-256.
    pepper: Option<HmacKey>,
}

impl KeyHasher {
    fn plain() -> Self {
        Self { id: DigestAlgorithm("sha256".into()), pepper: None }
    }

    /// Parses a pepper. If the pepper is invalid, returns the reason.
    fn peppered(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("empty");
        }
        let pepper = Zeroizing::new(
            PEPPER_ENCODINGS
                .iter()
                .find_map(|encoding| encoding.decode(text).ok())
                .ok_or("not base64")?,
        );
        if pepper.len() < PEPPER_BYTES {
            return Err("too short");
        }
        if pepper.iter().all(|byte| Some(byte) == pepper.first()) {
            return Err("one byte repeated");
        }
        let pepper = HmacKey::new(&pepper).ok_or("not an HMAC key")?;
        let id = pepper.digest(PEPPER_ID_INPUT);
        let id = id.iter().take(8).fold(0_u64, |id, &byte| (id << 8) | u64::from(byte));
        Ok(Self {
            id: DigestAlgorithm(format!("hmac-sha256:{id:016x}").into()),
            pepper: Some(pepper),
        })
    }

    #[inline]
    fn digest(&self, key: &[u8]) -> KeyDigest {
        KeyDigest(match &self.pepper {
            None => sha256(key),
            Some(pepper) => pepper.digest(key),
        })
    }
}

const fn lenient(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    GeneralPurpose::new(
        alphabet,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    )
}

/// Digests keys with the current algorithm and, while a pepper is being changed, with the previous
/// algorithm.
#[derive(Clone)]
pub(crate) struct Digester {
    current: KeyHasher,
    previous: Option<KeyHasher>,
}

impl Default for Digester {
    fn default() -> Self {
        Self { current: KeyHasher::plain(), previous: None }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let previous = self.previous.as_ref().map(|algorithm| &algorithm.id);
        formatter
            .debug_struct("Digester")
            .field("current", &self.current.id)
            .field("previous", &previous)
            .finish()
    }
}

impl Digester {
    /// Parses the current and the previous pepper, which are base64. `previous` may also be `none`,
    /// which means that no pepper was used before. Surrounding white space, such as the line break
    /// at the end of a file, is ignored.
    pub(crate) fn parse(pepper: Option<&str>, previous: Option<&str>) -> Result<Self, Error> {
        let (pepper, previous) = (pepper.map(str::trim), previous.map(str::trim));
        let current = match pepper {
            None => KeyHasher::plain(),
            Some(text) => KeyHasher::peppered(text).map_err(|why| {
                Error::config(format!(
                    "invalid APP_KEY_PEPPER: {why}; set it to at least {PEPPER_BYTES} random bytes in base64, such as the output of `openssl rand -base64 32`"
                ))
            })?,
        };
        let previous = match previous {
            None => None,
            Some("none") => Some(KeyHasher::plain()),
            Some(text) => Some(KeyHasher::peppered(text).map_err(|why| {
                Error::config(format!(
                    "invalid APP_KEY_PEPPER_PREVIOUS: {why}; set it to the pepper that was in use before (`none` for no pepper), or \
                     unset APP_KEY_PEPPER_PREVIOUS"
                ))
            })?),
        };
        if previous.as_ref().is_some_and(|algorithm| algorithm.id == current.id) {
            return Err(Error::config(
                "APP_KEY_PEPPER_PREVIOUS is the same as APP_KEY_PEPPER; set it to the pepper that was in use before \
                 (`none` for no pepper), or unset APP_KEY_PEPPER_PREVIOUS",
            ));
        }
        Ok(Self { current, previous })
    }

    /// Returns the algorithm for new keys.
    pub(crate) fn current_algorithm(&self) -> &DigestAlgorithm {
        &self.current.id
    }

    pub(crate) fn previous_algorithm(&self) -> Option<&DigestAlgorithm> {
        self.previous.as_ref().map(|algorithm| &algorithm.id)
    }

    /// Returns all configured algorithms in the order of [`Digests::iter`]. The current algorithm
    /// comes first.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = &DigestAlgorithm> {
        std::iter::once(&self.current.id).chain(self.previous_algorithm())
    }

    /// Returns the digest that is stored for a new key and looked up first.
    pub(crate) fn digest(&self, key: impl AsRef<[u8]>) -> KeyDigest {
        self.current.digest(key.as_ref())
    }

    #[cfg(any(test, feature = "_diesel"))]
    pub(crate) fn digests(&self, key: &str) -> Digests {
        Digests { current: self.digest(key), previous: self.previous_digest(key) }
    }

    /// Returns the digest with the previous algorithm, or `None` if no pepper is being changed.
    pub(crate) fn previous_digest(&self, key: impl AsRef<[u8]>) -> Option<KeyDigest> {
        self.previous.as_ref().map(|algorithm| algorithm.digest(key.as_ref()))
    }
}

/// The digests of one credential, one for each configured algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digests {
    pub(crate) current: KeyDigest,
    pub(crate) previous: Option<KeyDigest>,
}

impl Digests {
    /// Returns all digests. The digest of the current algorithm comes first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = KeyDigest> {
        std::iter::once(self.current).chain(self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";
    const OTHER: &str = "Zk8rN2pQ7vX4cT1mY6wB3jH9sL5dF0gAeUoKiCnRxVE";

    // A6
    #[test]
    fn an_unusable_pepper_is_rejected() {
        let repeated = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for bad in [
            "",
            " ",
            "\n",
            "not base64!",
            "c2hvcnQ=",
            "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXc",
            repeated,
            "none",
        ] {
            let error = Digester::parse(Some(bad), None).unwrap_err();
            assert!(error.is_config(), "{bad:?}");
            let message = error.to_string();
            assert!(message.contains("APP_KEY_PEPPER:") && message.contains("openssl"), "{error}");
            if bad != "none" {
                let error = Digester::parse(Some(PEPPER), Some(bad)).unwrap_err();
                let message = error.to_string();
                assert!(error.is_config() && message.contains("APP_KEY_PEPPER_PREVIOUS:"));
                // A new pepper in this variable would reject every key.
                assert!(message.contains("in use before") && !message.contains("openssl"));
            }
        }
    }

    // A6
    #[test]
    fn the_message_about_a_pepper_does_not_hold_it() {
        let short = "c2hvcnQtcGVwcGVyLXZhbHVl";
        assert!(!Digester::parse(Some(short), None).unwrap_err().to_string().contains(short));
    }

    // A6
    #[test]
    fn both_peppers_are_looked_up_and_new_keys_use_the_current() {
        let plain = Digester::default();
        let before = Digester::parse(Some(PEPPER), Some("none")).unwrap();
        let after = Digester::parse(Some(OTHER), Some(PEPPER)).unwrap();
        assert_eq!(before.digests("k").previous, Some(plain.digest("k")));
        assert_eq!(after.digests("k").previous, Some(before.digest("k")));
        assert_eq!(after.digests("k").current, after.digest("k"));
        assert_ne!(after.digest("k"), before.digest("k"));
        assert_eq!(plain.current_algorithm().as_str(), "sha256");
        assert!(before.current_algorithm().as_str().starts_with("hmac-sha256:"));
        assert_eq!(before.current_algorithm().as_str().len(), "hmac-sha256:".len() + 16);
    }

    // A7
    #[test]
    fn digests_differ_where_any_one_bit_does() {
        let digest = KeyDigest::from_bytes([0x5a; 32]);
        assert_eq!(digest, KeyDigest::from_bytes([0x5a; 32]));
        for bit in 0..256 {
            let mut bytes = [0x5a; 32];
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, KeyDigest::from_bytes(bytes), "bit {bit}");
        }
    }

    // A6
    #[test]
    fn a_pepper_has_the_same_id_in_every_release() {
        // printf 'api-key-runtime pepper id' | openssl dgst -sha256 -mac HMAC -macopt hexkey:.. |
        // cut -c -16
        let digester = Digester::parse(Some(PEPPER), Some("none")).unwrap();
        assert_eq!(digester.current_algorithm().to_string(), "hmac-sha256:5c624e5d6eca73a1");
        let algorithms: Vec<_> = digester.algorithms().map(DigestAlgorithm::as_str).collect();
        assert_eq!(algorithms, ["hmac-sha256:5c624e5d6eca73a1", "sha256"]);
        let digests = digester.digests("k");
        let both = [digests.current, digester.previous_digest("k").unwrap()];
        assert_eq!(digests.iter().collect::<Vec<_>>(), both);
        assert_eq!(
            format!("{digester:?}"),
            "Digester { current: DigestAlgorithm(\"hmac-sha256:5c624e5d6eca73a1\"), previous: Some(DigestAlgorithm(\"sha256\")) }"
        );
    }

    #[test]
    fn digests_are_spread_by_their_hash() {
        let state = std::hash::RandomState::new();
        let hash =
            |byte| std::hash::BuildHasher::hash_one(&state, KeyDigest::from_bytes([byte; 32]));
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }

    #[test]
    fn white_space_around_a_pepper_is_removed() {
        let id = |pepper: &str, previous: &str| {
            let digester = Digester::parse(Some(pepper), Some(previous)).unwrap();
            digester.algorithms().map(DigestAlgorithm::to_string).collect::<Vec<_>>()
        };
        assert_eq!(id(&format!(" {PEPPER}\r\n"), "none\n"), id(PEPPER, "none"));
        assert_eq!(id(OTHER, &format!("{PEPPER}\n")), id(OTHER, PEPPER));
    }

    #[test]
    fn the_same_pepper_in_either_alphabet_is_the_same_way() {
        let url_safe = PEPPER.replace('+', "-").replace('/', "_");
        let unpadded = url_safe.trim_end_matches('=');
        for text in [&url_safe, unpadded] {
            let digester = Digester::parse(Some(text), None).unwrap();
            assert_eq!(
                digester.current_algorithm(),
                Digester::parse(Some(PEPPER), None).unwrap().current_algorithm()
            );
        }
        assert!(
            Digester::parse(Some(PEPPER), Some(unpadded)).unwrap_err().is_config(),
            "the previous algorithm is the current one"
        );
    }

    #[test]
    fn sha256_and_hmac_are_those_of_their_standards() {
        let hex = |digest: KeyDigest| {
            digest.as_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
        };
        // FIPS 180-4, the example "abc".
        assert_eq!(
            hex(Digester::default().digest("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // RFC 4231, test case 7. The key of this test case, 131 bytes of 0xaa, is rejected as a
        // pepper, so the test calls the algorithm directly.
        let pepper = HmacKey::new(&[0xaa; 131]).unwrap();
        assert_eq!(
            hex(KeyDigest(
                pepper.digest(b"Test Using Larger Than Block-Size Key - Hash Key First")
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn debug_shows_neither_digest_nor_pepper() {
        let digester = Digester::parse(Some(PEPPER), None).unwrap();
        assert_eq!(format!("{:?}", digester.digest("k")), "KeyDigest(..)");
        assert!(!format!("{digester:?}").contains(&PEPPER[..8]));
    }
}
