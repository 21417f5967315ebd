//! The format of keys: how they are generated, and how malformed keys are rejected without a query.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::{Zeroize, Zeroizing};

use super::KeySecret;
use crate::error::Error;

/// The number of random bytes in a native key, which are 232 bits. Only keys of letters and digits
/// are kept, so 230 random bits remain.
const RANDOM_BYTES: usize = 29;
const CHECKSUM_BYTES: usize = 4;
/// Number of characters after the prefix: base64 of the random bytes and their checksum, without
/// padding.
pub(super) const BODY_CHARS: usize = 44;
/// Number of characters of the body that a hint shows.
pub(super) const HINT_CHARS: usize = 4;
/// Maximum length of a key in a request. Longer credentials are not hashed, copied or looked up.
pub(crate) const MAX_KEY_BYTES: usize = 256;
const DEFAULT_PREFIX: &str = "ak_live_";
/// Maximum length of a prefix: one letter, nineteen more characters, and an underscore at the end.
pub(super) const MAX_PREFIX_CHARS: usize = 21;

/// A function that fills a buffer with random bytes. The function is a parameter, so that tests can
/// make it fail.
type Entropy<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<(), getrandom::Error>;

/// The format of a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFormat {
    /// A prefix and 44 letters and digits, with 230 random bits and a checksum.
    #[default]
    Native,
    /// A random UUID (RFC 9562, version 4) with 122 random bits, for clients that require a UUID.
    /// Such a key has neither prefix nor checksum, and is accepted only if imported keys are
    /// accepted.
    Uuid,
}

/// The key prefix of the application, such as `ak_live_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(Box<str>);

impl Prefix {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if !is_prefix(text) {
            return Err(Error::config(format!(
                "invalid key prefix {text:?}: it must be a lower-case letter, then at most 19 lower-case letters, digits or \
                 underscores, then an underscore, such as \"ak_live_\" (APP_KEY_PREFIX)"
            )));
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a regular expression that matches native keys with this prefix.
    pub(crate) fn pattern(&self) -> String {
        format!("{}[0-9A-Za-z]{{{BODY_CHARS}}}", self.0)
    }
}

/// Returns whether a text is a valid prefix.
pub(super) fn is_prefix(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_PREFIX_CHARS
        && text.len() >= 2
        && text.ends_with('_')
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl Default for Prefix {
    fn default() -> Self {
        Self(DEFAULT_PREFIX.into())
    }
}

/// The rules that decide whether a text can be a key of this application.
#[derive(Clone, Debug, Default)]
pub(crate) struct FormatRules {
    pub(crate) prefix: Prefix,
    pub(crate) accept_imported: bool,
}

impl FormatRules {
    /// Returns whether a text can be a key in the table. A native key may have any prefix, if its
    /// checksum is correct for this prefix. Keys that were issued before a change of the prefix
    /// therefore stay valid. The table decides whether the key is valid.
    ///
    /// `key` must contain only characters that [`is_key_character`] accepts.
    pub(crate) fn accepts(&self, key: &str) -> bool {
        let parts = key.len().checked_sub(BODY_CHARS).and_then(|end| key.split_at_checked(end));
        match parts {
            Some((prefix, body)) if is_prefix(prefix) && checksum_holds(prefix, body) => true,
            // Any other text may be an imported key, unless it looks like a mistyped native key. A
            // mistyped native key begins with the configured prefix, or its body has the right
            // checksum for that prefix.
            _ => {
                self.accept_imported
                    && !key.starts_with(self.prefix.as_str())
                    && !parts.is_some_and(|(_, body)| checksum_holds(self.prefix.as_str(), body))
            }
        }
    }

    /// Generates a key from random bytes of the operating system. There is no other source: if the
    /// operating system fails, this method returns an error.
    pub(crate) fn generate(&self, format: KeyFormat) -> Result<KeySecret, Error> {
        self.generate_from(format, &mut |buffer| getrandom::fill(buffer))
    }

    fn generate_from(&self, format: KeyFormat, entropy: Entropy<'_>) -> Result<KeySecret, Error> {
        match format {
            KeyFormat::Native => self.native(entropy),
            KeyFormat::Uuid if self.accept_imported => uuid(entropy),
            KeyFormat::Uuid => Err(Error::invalid_input(
                "cannot issue a UUID as a key: imported keys are not accepted; set APP_KEY_ACCEPT_IMPORTED=1 for this command and for \
                 the service, or issue a native key",
            )),
        }
    }

    /// Draws random bytes until the encoded body has only letters and digits, so that a double
    /// click selects the whole key. About four draws are needed on average.
    fn native(&self, entropy: Entropy<'_>) -> Result<KeySecret, Error> {
        let mut bytes = Zeroizing::new([0_u8; RANDOM_BYTES + CHECKSUM_BYTES]);
        // The body is written in place, because a growing buffer would leave copies of the key in
        // memory.
        let mut body = Zeroizing::new([0_u8; BODY_CHARS]);
        loop {
            let (random, checksum) = bytes.split_at_mut(RANDOM_BYTES);
            entropy(random).map_err(Error::entropy)?;
            checksum.copy_from_slice(&checksum_of(self.prefix.as_str(), random));
            let encoded = URL_SAFE_NO_PAD.encode_slice(*bytes, &mut *body);
            if encoded == Ok(BODY_CHARS) && body.iter().all(u8::is_ascii_alphanumeric) {
                break;
            }
        }
        let mut key = String::with_capacity(self.prefix.0.len() + BODY_CHARS);
        key.push_str(&self.prefix.0);
        key.extend(body.iter().map(|&byte| char::from(byte)));
        Ok(KeySecret::new(key))
    }

    /// Returns the hint by which people recognize a key. The hint of a native key is the prefix and
    /// four characters. The hint of an imported key is at most four characters, and at most a sixth
    /// of the key.
    pub(crate) fn hint(&self, secret: &KeySecret) -> String {
        let key = secret.expose_secret();
        let shown = if key.starts_with(&*self.prefix.0) {
            self.prefix.0.len() + HINT_CHARS
        } else {
            HINT_CHARS.min(key.len() / 6)
        };
        key.chars().take(shown).collect()
    }
}

/// Returns whether the checksum is correct. The checksum detects typing errors, but is not a
/// security control, because anyone can compute it.
pub(super) fn checksum_holds(prefix: &str, body: &str) -> bool {
    if body.len() != BODY_CHARS || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let mut decoded = [0_u8; RANDOM_BYTES + CHECKSUM_BYTES];
    let intact = match URL_SAFE_NO_PAD.decode_slice(body, &mut decoded) {
        Ok(_) => {
            let (random, checksum) = decoded.split_at(RANDOM_BYTES);
            checksum == checksum_of(prefix, random)
        }
        Err(_) => false,
    };
    decoded.zeroize();
    intact
}

fn checksum_of(prefix: &str, random: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix.as_bytes());
    hasher.update(random);
    hasher.finalize().to_be_bytes()
}

/// Returns whether a text begins with 44 letters and digits, like the body of a native key. Does
/// not verify the checksum.
pub(crate) fn begins_with_body(text: &str) -> bool {
    let body = text.as_bytes().get(..BODY_CHARS);
    body.is_some_and(|body| body.iter().all(u8::is_ascii_alphanumeric))
}

fn uuid(entropy: Entropy<'_>) -> Result<KeySecret, Error> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    entropy(&mut *bytes).map_err(Error::entropy)?;
    let mut key = String::with_capacity(36);
    for (index, &byte) in bytes.iter().enumerate() {
        let byte = match index {
            6 => (byte & 0x0F) | 0x40, // version 4
            8 => (byte & 0x3F) | 0x80, // the variant of RFC 9562
            _ => byte,
        };
        if matches!(index, 4 | 6 | 8 | 10) {
            key.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(KeySecret::new(key))
}

/// Returns whether a key may contain this byte: one of the `token68` characters (RFC 9110, section
/// 11.2). The function has no branches, so that [`are_key_characters`] can check sixteen bytes at a
/// time.
#[expect(clippy::needless_bitwise_bool, reason = "without a branch")]
pub(crate) const fn is_key_character(byte: u8) -> bool {
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    // The bytes of `-`, `.`, `/` and the digits are consecutive.
    let is_digit_or_mark = byte.wrapping_sub(b'-') <= b'9' - b'-';
    is_letter | is_digit_or_mark | (byte == b'_') | (byte == b'~') | (byte == b'+') | (byte == b'=')
}

/// Returns whether [`is_key_character`] accepts all bytes. The function runs for every request that
/// is not a cache hit, so it checks sixteen bytes at a time.
pub(crate) fn are_key_characters(bytes: &[u8]) -> bool {
    let is_one = |byte| u8::from(is_key_character(byte));
    let Some(last) = bytes.last_chunk::<16>() else {
        return bytes.iter().copied().all(is_key_character);
    };
    // The last sixteen bytes include the remainder that is too short for a chunk.
    let (chunks, _) = bytes.as_chunks::<16>();
    let mut are = last.map(is_one);
    for chunk in chunks {
        for (are, &byte) in are.iter_mut().zip(chunk) {
            *are &= is_one(byte);
        }
    }
    are == [1; 16]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::key::Digester;

    fn rules() -> FormatRules {
        FormatRules::default()
    }

    fn lenient() -> FormatRules {
        FormatRules { accept_imported: true, ..FormatRules::default() }
    }

    fn native() -> String {
        rules().generate(KeyFormat::Native).unwrap().expose_secret().to_owned()
    }

    // A1
    #[test]
    fn a_million_keys_are_distinct_and_no_position_is_biased() {
        const KEYS: usize = 1_000_000;
        let rules = rules();
        let mut seen = HashSet::with_capacity(KEYS);
        let mut counts = vec![[0_u32; 128]; BODY_CHARS];
        for _ in 0..KEYS {
            let secret = rules.generate(KeyFormat::Native).unwrap();
            let body = &secret.expose_secret().as_bytes()[DEFAULT_PREFIX.len()..];
            for (position, &byte) in body.iter().enumerate() {
                counts[position][usize::from(byte)] += 1;
            }
            assert!(seen.insert(<[u8; BODY_CHARS]>::try_from(body).unwrap()), "a key came twice");
        }
        // A chi-square test over 62 characters has 61 degrees of freedom. So the expected value is
        // 61, the standard deviation is 11, and 150 is 8 standard deviations away.
        let expected = KEYS as f64 / 62.0;
        for (position, counts) in counts.iter().enumerate() {
            let characters = (0..128_u8).filter(u8::is_ascii_alphanumeric);
            let chi_square: f64 = characters
                .map(|c| (f64::from(counts[usize::from(c)]) - expected).powi(2) / expected)
                .sum();
            assert!(chi_square < 150.0, "position {position} is biased: chi-square {chi_square}");
        }
    }

    // A1
    #[test]
    fn issuing_fails_when_the_operating_system_has_no_entropy() {
        for format in [KeyFormat::Native, KeyFormat::Uuid] {
            let mut asked = 0;
            let failed = lenient().generate_from(format, &mut |_| {
                asked += 1;
                Err(getrandom::Error::UNSUPPORTED)
            });
            assert!(failed.unwrap_err().is_entropy());
            assert_eq!(asked, 1, "no second source, no second try");
        }
    }

    // B5
    #[test]
    fn a_key_holds_letters_digits_and_seven_marks() {
        for length in 0..=35 {
            let mut bytes = vec![b'a'; length];
            assert!(are_key_characters(&bytes), "{length}");
            for position in 0..length {
                for byte in 0..=u8::MAX {
                    bytes[position] = byte;
                    let expected = byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
                    assert_eq!(are_key_characters(&bytes), expected, "{bytes:?}");
                }
                bytes[position] = b'a';
            }
        }
    }

    // A1
    #[test]
    fn a_native_key_holds_232_drawn_bits() {
        let mut asked = 0;
        rules()
            .generate_from(KeyFormat::Native, &mut |buffer| {
                asked = buffer.len() * 8;
                getrandom::fill(buffer)
            })
            .unwrap();
        // About one draw in four is kept, which costs slightly more than two of the drawn bits.
        assert!(asked - 3 >= 224, "{asked}");
    }

    // A2
    #[test]
    fn a_native_key_is_the_prefix_and_44_letters_and_digits() {
        for _ in 0..1000 {
            let key = native();
            let body = key.strip_prefix("ak_live_").unwrap();
            assert_eq!(body.len(), 44);
            assert!(body.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert!(rules().accepts(&key));
            assert!(key.len() <= 55, "one SHA-256 block");
        }
    }

    // A2, A3
    #[test]
    fn the_form_is_that_of_keys_already_issued() {
        // This key was generated once, from fixed bytes. Issued keys must stay valid when this code
        // changes.
        let key = concat!("ak_live_", "ASZLcJW63wQpTnOYveIHLFF2m8DlCi9UeZ7D6A2WaXTg");
        let intact = |prefix: &str, key: &str| {
            let prefix = Prefix::parse(prefix).unwrap();
            let rules = FormatRules { prefix, accept_imported: false };
            rules.accepts(key)
        };
        assert!(intact("ak_live_", key));
        // The key stays valid after the prefix is changed.
        assert!(intact("shop_", key));
        // The checksum covers the prefix, so the same body with another prefix is not a key.
        let body = key.strip_prefix("ak_live_").unwrap();
        for mistyped in ["ak_test_", "ak_live__", "ak_liv_", "a_", "_", "", "AK_LIVE_"] {
            for prefix in ["ak_live_", "ak_test_"] {
                assert!(!intact(prefix, &format!("{mistyped}{body}")), "{mistyped}");
            }
        }
        assert_eq!(
            Digester::default().digest(key).as_bytes()[..4],
            [0x9d, 0xca, 0x0a, 0xbe],
            "and so does its digest"
        );
    }

    // A3
    #[test]
    fn a_key_with_one_wrong_character_is_malformed() {
        let characters: Vec<char> =
            (0..=127_u8).filter(|&byte| is_key_character(byte)).map(char::from).collect();
        for rules in [rules(), lenient()] {
            for _ in 0..20 {
                let key = native();
                assert!(rules.accepts(&key));
                for position in 0..=key.len() {
                    for &character in &characters {
                        let added = format!("{}{character}{}", &key[..position], &key[position..]);
                        assert!(!rules.accepts(&added), "added {character} at {position}");
                        if position < key.len() && !key[position..].starts_with(character) {
                            let changed =
                                format!("{}{character}{}", &key[..position], &key[position + 1..]);
                            assert!(!rules.accepts(&changed), "{character} at {position}");
                        }
                    }
                    if position < key.len() {
                        let dropped = format!("{}{}", &key[..position], &key[position + 1..]);
                        assert!(!rules.accepts(&dropped), "dropped {position}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_body_with_other_characters_is_not_a_key() {
        let rules = rules();
        let mut seen = 0;
        for byte in 0..=u8::MAX {
            let random = [byte; RANDOM_BYTES];
            let bytes = [&random[..], &checksum_of("ak_live_", &random)].concat();
            let body = URL_SAFE_NO_PAD.encode(bytes);
            let is_plain = body.bytes().all(|byte| byte.is_ascii_alphanumeric());
            assert_eq!(rules.accepts(&format!("ak_live_{body}")), is_plain, "{body}");
            seen += usize::from(!is_plain);
        }
        assert!(seen > 10, "{seen}");
    }

    // A3
    #[test]
    fn a_mistyped_key_of_a_former_prefix_is_malformed() {
        let rules = FormatRules { prefix: Prefix::parse("shop_").unwrap(), accept_imported: false };
        for _ in 0..20 {
            let key = native();
            assert!(rules.accepts(&key));
            for position in 0..key.len() {
                let dropped = format!("{}{}", &key[..position], &key[position + 1..]);
                let changed = format!("{}~{}", &key[..position], &key[position + 1..]);
                let added = format!("{}x{}", &key[..position], &key[position..]);
                for mistyped in [dropped, changed, added] {
                    assert!(!rules.accepts(&mistyped), "{mistyped}");
                }
            }
        }
    }

    #[test]
    fn imported_keys_are_accepted_only_where_enabled() {
        let recipe = "Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx5";
        let uuid = "2f1b8a4e-8d3c-4c57-9a6e-0d9b1f3c7e21";
        for key in [recipe, uuid, "9e107d9d372bb6826bd81d3542a419d6"] {
            assert!(lenient().accepts(key));
            assert!(!rules().accepts(key));
        }
    }

    #[test]
    fn a_uuid_key_is_version_4_and_needs_opting_in() {
        let secret = lenient().generate(KeyFormat::Uuid).unwrap();
        let key = secret.expose_secret();
        assert_eq!(key.len(), 36);
        assert_eq!(key.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(&key[14..15], "4");
        assert!(matches!(&key[19..20], "8" | "9" | "a" | "b"));
        assert!(lenient().accepts(key));
        assert!(rules().generate(KeyFormat::Uuid).unwrap_err().is_invalid_input());
        for (drawn, expected) in [
            (0x00, "00000000-0000-4000-8000-000000000000"),
            (0xff, "ffffffff-ffff-4fff-bfff-ffffffffffff"),
        ] {
            let key = lenient().generate_from(KeyFormat::Uuid, &mut |buffer| {
                buffer.fill(drawn);
                Ok(())
            });
            assert_eq!(key.unwrap().expose_secret(), expected);
        }
    }

    #[test]
    fn a_prefix_starts_with_a_letter_and_ends_with_an_underscore() {
        for good in ["a_", "ak_live_", "cakes2_", "abcdefghijklmnopqrst_"] {
            assert!(Prefix::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "_", "ak", "Ak_", "1k_", "a-k_", "ak_ ", "é_", "abcdefghijklmnopqrstu_"] {
            assert!(Prefix::parse(bad).unwrap_err().is_config(), "{bad}");
        }
    }

    #[test]
    fn a_hint_shows_the_prefix_and_four_characters() {
        let key = KeySecret::new(native());
        let hint = rules().hint(&key);
        assert_eq!(hint.len(), "ak_live_".len() + 4);
        assert!(key.expose_secret().starts_with(&hint));
    }

    #[test]
    fn debug_of_a_secret_shows_no_part_of_it() {
        let key = native();
        assert_eq!(format!("{:?}", KeySecret::new(key)), "KeySecret(..)");
        let pepper = crate::key::Secret::new("pepper".to_owned());
        assert_eq!(format!("{pepper:?}"), "..");
    }
}
