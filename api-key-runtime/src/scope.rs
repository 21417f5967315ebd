//! The scopes of a key.

use std::{
    collections::HashSet,
    fmt,
    str::{FromStr, SplitAsciiWhitespace},
};

use crate::error::Error;

/// The maximum length of a list of scopes. The table has the same constraint. Scopes are ASCII, so
/// each byte is one character.
const MAX_SCOPES_CHARS: usize = 4000;

/// A set of scopes, in the order in which they were written.
///
/// A scope is a `scope-token` of RFC 6749, section 3.3, that does not contain `,` or `*`. A list of
/// scopes is a text with single spaces between the scopes, and at most 4000 characters long. `,` is
/// not allowed, because it is usually a mistaken separator. `*` is not allowed, because scopes are
/// compared as whole texts: the scope `*` would not match any other scope.
///
/// ```
/// use api_key_runtime::ScopeSet;
///
/// let scopes: ScopeSet = "cakes:read cakes:write".parse()?;
/// assert!(scopes.contains("cakes:write"));
/// assert!(!scopes.contains("cakes"));
///
/// let both: ScopeSet = [scopes, "menu:read".parse()?].into_iter().collect();
/// assert_eq!(both.as_str(), "cakes:read cakes:write menu:read");
/// # Ok::<(), api_key_runtime::Error>(())
/// ```
#[doc(alias = "permissions")]
#[doc(alias = "roles")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Box<str>);

impl ScopeSet {
    /// Parses the text of a table column. A text that is not a valid list of scopes results in an
    /// empty set, which grants nothing.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        text.parse().unwrap_or_default()
    }

    /// Joins scopes and drops repeated scopes.
    fn joined<'a>(scopes: impl Iterator<Item = &'a str>) -> Self {
        let mut seen = HashSet::new();
        let scopes: Vec<&str> = scopes.filter(|scope| seen.insert(*scope)).collect();
        Self(scopes.join(" ").into())
    }

    /// Returns whether the set has this scope. The whole scope is compared, case-sensitively.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        !scope.is_empty() && self.iter().any(|own| own == scope)
    }

    /// Returns an iterator over the scopes.
    #[must_use]
    pub fn iter(&self) -> SplitAsciiWhitespace<'_> {
        self.0.split_ascii_whitespace()
    }

    /// Returns the number of scopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns whether the set has no scope.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text of the column `scopes`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Parses scopes separated by single spaces. An empty text is an empty set.
impl FromStr for ScopeSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > MAX_SCOPES_CHARS {
            return Err(Error::invalid_input(format!(
                "the scopes are longer than the table holds ({MAX_SCOPES_CHARS} characters): use fewer scopes, or issue several keys"
            )));
        }
        if let Some((scope, fault)) = text.split(' ').find_map(|scope| Some((scope, fault(scope)?)))
        {
            return Err(Error::invalid_input(format!("invalid scope {scope:?}: {fault}")));
        }
        Ok(Self::joined(text.split(' ')))
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a str;
    type IntoIter = SplitAsciiWhitespace<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Collects the scopes of several sets into one set.
impl FromIterator<Self> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        let sets: Vec<Self> = sets.into_iter().collect();
        Self::joined(sets.iter().flatten())
    }
}

/// Returns the text of the column `scopes`, so that the setters of [`NewKey`](crate::admin::NewKey)
/// accept a `ScopeSet`.
impl AsRef<str> for ScopeSet {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Returns what is wrong with a scope and what to write instead, or `None` for a valid scope.
pub(crate) fn fault(scope: &str) -> Option<&'static str> {
    if scope.contains(',') {
        Some("it has a comma; separate scopes by spaces")
    } else if scope.contains('*') {
        Some("it has a `*`, but wildcards are not supported; write each scope in full")
    } else if scope.is_empty() || !scope.bytes().all(is_scope_character) {
        Some(
            "a scope is printable ASCII without spaces, double quotes and backslashes (RFC 6749); separate several scopes by single spaces",
        )
    } else {
        None
    }
}

fn is_scope_character(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_scope_sets_contain_each_scope_once() {
        let set = |text: &str| text.parse::<ScopeSet>().unwrap();
        let all: ScopeSet = [set("a b"), set(""), set("b c")].into_iter().collect();
        assert_eq!(all.as_ref(), "a b c");
        assert_eq!((all.len(), all.is_empty()), (3, false));
        assert_eq!((set("").len(), set("").is_empty()), (0, true));
    }

    #[test]
    fn scopes_are_whole_tokens() {
        let scopes: ScopeSet = "cakes:write read".parse().unwrap();
        assert!(scopes.contains("read") && scopes.contains("cakes:write"));
        for other in ["", " ", "cakes", "cakes:write read", "Read", "rea", "read "] {
            assert!(!scopes.contains(other), "{other:?}");
        }
        assert_eq!("a b a".parse::<ScopeSet>().unwrap().as_str(), "a b");
        assert_eq!("".parse::<ScopeSet>().unwrap().iter().count(), 0);
    }

    #[test]
    fn scopes_are_shown_as_they_are_stored() {
        let scopes: ScopeSet = "cakes:write cakes:read".parse().unwrap();
        assert_eq!(scopes.to_string(), scopes.as_str());
        assert_eq!(ScopeSet::from_stored(scopes.as_str()), scopes);
        assert!(scopes.as_str().contains("cakes:read"));
    }

    #[test]
    fn an_invalid_scope_list_is_an_error_and_grants_nothing() {
        for bad in [
            " ", "a  b", " a", "a ", "a\tb", "a\"b", "a\\b", "é", "a\n", "a,b", "a, b", "a *",
            "a b:*",
        ] {
            assert!(bad.parse::<ScopeSet>().unwrap_err().is_invalid_input(), "{bad:?}");
            assert!(!ScopeSet::from_stored(bad).contains("a"));
        }
    }

    #[test]
    fn a_comma_and_an_asterisk_are_errors_that_suggest_a_fix() {
        let message = |text: &str| text.parse::<ScopeSet>().unwrap_err().to_string();
        assert!(message("a,b").contains("separate scopes by spaces"));
        assert!(message("cakes:*").contains("write each scope in full"));
    }

    #[test]
    fn scopes_are_4000_characters_at_most() {
        let text = |bytes: usize| {
            (0..).map(|number| format!("{number:04} ")).take(bytes / 5).collect::<String>()
        };
        let most = text(4000) + "x";
        assert_eq!(most[..4000].trim_end().parse::<ScopeSet>().unwrap().len(), 800);
        assert!("a".repeat(4000).parse::<ScopeSet>().is_ok());
        assert!(most.parse::<ScopeSet>().unwrap_err().is_invalid_input());
        assert!(ScopeSet::from_stored(&most).is_empty());
        // A set that was collected from several sets may exceed the maximum length. A key with such
        // a set cannot be issued.
        let half = |first: char| first.to_string().repeat(3000).parse::<ScopeSet>().unwrap();
        let both: ScopeSet = [half('a'), half('b')].into_iter().collect();
        assert!(crate::new_key::NewKey::new("n").scopes(both).is_err());
    }
}
