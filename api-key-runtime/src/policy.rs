//! The requirements of a route: which scopes a key needs, and whether a request needs a key.

use crate::{
    error::Error,
    scope::{ScopeSet, fault},
};

/// The requirements of a route, set by the arguments of the attribute or by the middleware.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    required: RequiredScopes<'static>,
    optional: bool,
}

/// The scopes that a key needs: all scopes of `all`, and at least one scope of `any`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequiredScopes<'a> {
    /// Scopes separated by spaces, all of which the key must have.
    pub(crate) all: Option<&'a str>,
    /// Scopes separated by spaces, at least one of which the key must have.
    pub(crate) any: Option<&'a str>,
}

impl<'a> RequiredScopes<'a> {
    /// Returns whether `scopes` contains every scope of `all` and, if `any` is set, at least one
    /// scope of `any`.
    #[inline]
    pub(crate) fn are_met_by(&self, scopes: &ScopeSet) -> bool {
        let has = |scope| scopes.contains(scope);
        self.all.is_none_or(|all| split(all).all(has))
            && self.any.is_none_or(|any| split(any).any(has))
    }

    /// Returns every scope of both lists.
    pub(crate) fn named(&self) -> impl Iterator<Item = &'a str> {
        [self.all, self.any].into_iter().flatten().flat_map(split)
    }
}

impl Policy {
    /// Returns the policy that requires any valid key.
    #[must_use]
    pub const fn new() -> Self {
        Self { required: RequiredScopes { all: None, any: None }, optional: false }
    }

    /// Requires a key with all of these scopes.
    #[must_use]
    pub const fn scopes(mut self, scopes: &'static str) -> Self {
        self.required.all = Some(scopes);
        self
    }

    /// Requires a key with at least one of these scopes. With an empty list, no key is accepted.
    #[must_use]
    pub const fn any_scope(mut self, scopes: &'static str) -> Self {
        self.required.any = Some(scopes);
        self
    }

    /// Makes the key optional: requests without a key are accepted as well. A key that is sent must
    /// be valid.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(crate) fn is_optional(&self) -> bool {
        self.optional
    }

    /// Returns the scopes that a key needs.
    #[inline]
    pub(crate) fn required(&self) -> &RequiredScopes<'static> {
        &self.required
    }

    /// Returns every scope of the policy. The challenge of a 403 response names these scopes.
    pub(crate) fn named_scopes(&self) -> impl Iterator<Item = &'static str> {
        self.required.named()
    }

    /// Checks that a key can meet this policy. The attribute makes the same check at compile time.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (setter, list) in [("scopes", self.required.all), ("any_scope", self.required.any)] {
            let Some(list) = list else { continue };
            if list.is_empty() {
                return Err(Error::config(format!(
                    "the value of {setter} is empty: name at least one scope, or leave out {setter}"
                )));
            }
            let fault = list.split(' ').find_map(|scope| Some((scope, fault(scope)?)));
            if let Some((scope, fault)) = fault {
                return Err(Error::config(format!("no key can have the scope {scope:?}: {fault}")));
            }
        }
        Ok(())
    }
}

pub(crate) fn split(scopes: &str) -> impl Iterator<Item = &str> {
    scopes.split(' ').filter(|scope| !scope.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    /// Returns the names in `NAMES` whose bits are set.
    fn names(bits: u8) -> Vec<&'static str> {
        let chosen = |(bit, _): &(usize, &&str)| bits & (1 << bit) != 0;
        NAMES.iter().enumerate().filter(chosen).map(|(_, name)| *name).collect()
    }

    // D1
    #[test]
    fn a_key_needs_all_scopes_of_one_list_and_one_of_the_other() {
        let lists = || (0..16_u8).map(Some).chain([None]);
        for all in lists() {
            for any in lists() {
                let mut policy = Policy::new();
                if let Some(all) = all {
                    policy = policy.scopes(names(all).join(" ").leak());
                }
                if let Some(any) = any {
                    policy = policy.any_scope(names(any).join(" ").leak());
                }
                for key in 0..16_u8 {
                    let expected = all.is_none_or(|all| all & key == all)
                        && any.is_none_or(|any| any & key != 0);
                    let scopes = ScopeSet::from_stored(&names(key).join(" "));
                    for policy in [policy, policy.optional()] {
                        assert_eq!(
                            policy.required().are_met_by(&scopes),
                            expected,
                            "{policy:?} {scopes}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_policy_is_made_while_it_is_compiled() {
        static POLICY: Policy = Policy::new().scopes("a").any_scope("b c");
        assert!(POLICY.required().are_met_by(&ScopeSet::from_stored("a c")));
        assert!(!POLICY.required().are_met_by(&ScopeSet::from_stored("b c")));
    }

    // D1
    #[test]
    fn a_policy_that_no_key_can_meet_is_an_error() {
        const NOTHING: &str = "";
        assert!(Policy::new().optional().check().is_ok());
        assert!(Policy::new().scopes("a b c d").any_scope("a b c d").check().is_ok());
        for bad in ["", "a\tb", "a\"b", "a\\b", "\u{e9}", "a\n", "a\0", "a,b", "a:*"] {
            for list in [format!("{bad} a"), format!("a {bad}")] {
                let list: &'static str = list.leak();
                for policy in [Policy::new().scopes(list), Policy::new().any_scope(list)] {
                    let message = policy.check().unwrap_err().to_string();
                    assert!(message.contains(&format!("{bad:?}")), "{message}");
                }
            }
        }
        for policy in [Policy::new().scopes(NOTHING), Policy::new().any_scope(NOTHING).optional()] {
            assert!(policy.check().unwrap_err().is_config());
        }
        let no_key = Policy::new().any_scope(NOTHING);
        assert!(!no_key.required().are_met_by(&ScopeSet::from_stored("a b c d")));
    }
}
