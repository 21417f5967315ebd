//! Estimates whether a key from another system could be guessed from its digest.

/// The minimum estimate, in bits, for storing the digest of a key without a pepper. Guessing 80
/// bits takes 2^79 hashes on average.
const MIN_BITS: f64 = 80.0;

/// Returns whether an attacker with the plain SHA-256 digest of a key may be able to find the key
/// by hashing guesses.
///
/// The estimate is the length times the binary logarithm of the number of distinct characters. The
/// estimate is too high for words and dates. It detects keys that are too short or too uniform, but
/// cannot show that a key is random.
pub(crate) fn is_guessable(key: &str) -> bool {
    let mut is_seen = [false; 256];
    let mut length = 0_u32;
    for byte in key.bytes() {
        if let Some(seen) = is_seen.get_mut(usize::from(byte)) {
            *seen = true;
        }
        length = length.saturating_add(1);
    }
    let distinct = is_seen.iter().filter(|seen| **seen).map(|_| 1).sum::<u32>();
    f64::from(length) * f64::from(distinct.max(1)).log2() < MIN_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    // A9
    #[test]
    fn short_and_uniform_keys_are_guessable() {
        for (key, expected) in [
            ("", true),
            ("secret", true),
            ("password1234", true),
            ("20261130-0001", true),
            ("correct-horse", true),
            ("0123456789abcdef", true),
            // Estimates of 76 and of exactly 80 bits: 19 and 20 characters, 16 of them distinct.
            ("0123456789abcdef000", true),
            ("0123456789abcdef0000", false),
            // A key of the Flask recipe, a UUID, and an MD5 digest in hexadecimal.
            ("rAdk2Jw8qL0fXyTz5bN1cVmP7hG4sKeU6iO9aRtWnBE", false),
            ("6fa459ea-ee8a-3ca4-894e-db77e160355e", false),
            ("9e107d9d372bb6826bd81d3542a419d6", false),
        ] {
            assert_eq!(is_guessable(key), expected, "{key}");
        }
        assert!(is_guessable(&"a".repeat(256)), "one character, repeated");
        assert!(is_guessable(&"ab".repeat(39)));
        assert!(!is_guessable(&"ab".repeat(40)));
    }
}
