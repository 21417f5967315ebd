//! What a route asks of a key. Written by the attribute.

use crate::scope::ScopeSet;

/// What a route asks of a key beyond being good: the arguments of the attribute.
///
/// ```
/// use api_key_runtime::Policy;
///
/// static POLICY: Policy = Policy::new().scopes(&["cakes:write"]).any_scope(&["eu", "us"]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    scopes: &'static [&'static str],
    any_scope: &'static [&'static str],
    optional: bool,
}

impl Policy {
    /// Any good key.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            scopes: &[],
            any_scope: &[],
            optional: false,
        }
    }

    /// A key that has all of these scopes.
    #[must_use]
    pub const fn scopes(mut self, scopes: &'static [&'static str]) -> Self {
        self.scopes = scopes;
        self
    }

    /// A key that has at least one of these scopes.
    #[must_use]
    pub const fn any_scope(mut self, scopes: &'static [&'static str]) -> Self {
        self.any_scope = scopes;
        self
    }

    /// Lets a request pass that presents no key at all; one that is presented must be good.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(crate) fn is_optional(&self) -> bool {
        self.optional
    }

    /// Whether these scopes are enough: all of the one list and, where there is another, one of it.
    pub(crate) fn is_met_by(&self, scopes: &ScopeSet) -> bool {
        let all = self.scopes.iter().all(|scope| scopes.contains(scope));
        let any =
            self.any_scope.is_empty() || self.any_scope.iter().any(|scope| scopes.contains(scope));
        all && any
    }

    /// Every scope the route names, for the challenge of a 403.
    pub(crate) fn named_scopes(&self) -> impl Iterator<Item = &'static str> {
        self.scopes.iter().chain(self.any_scope).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_one_list_and_one_of_the_other() {
        const ALL: Policy = Policy::new().scopes(&["a", "b"]);
        const ANY: Policy = Policy::new().any_scope(&["c", "d"]);
        const BOTH: Policy = Policy::new().scopes(&["a", "b"]).any_scope(&["c", "d"]);
        for bits in 0..16_u8 {
            let [a, b, c, d] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let text = [("a", a), ("b", b), ("c", c), ("d", d)]
                .iter()
                .filter(|(_, has)| *has)
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(" ");
            let scopes = ScopeSet::from_stored(&text);
            assert!(Policy::new().is_met_by(&scopes));
            assert_eq!(ALL.is_met_by(&scopes), a && b, "{text}");
            assert_eq!(ANY.is_met_by(&scopes), c || d, "{text}");
            assert_eq!(BOTH.is_met_by(&scopes), (a && b) && (c || d), "{text}");
        }
    }
}
