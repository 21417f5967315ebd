//! Routes that need no key or cannot be checked, with the reasons.

use std::collections::BTreeMap;

/// The exceptions for [`assert_protected`](super::assert_protected).
///
/// [`Exceptions::public`] creates the exceptions. `Exceptions::public([])` contains no exceptions.
#[derive(Clone, Debug, Default)]
#[must_use = "pass it to assert_protected"]
pub struct Exceptions {
    entries: Vec<Entry>,
    pub(super) samples: BTreeMap<String, String>,
    pub(super) faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Public,
    Unseen,
}

#[derive(Clone, Debug)]
struct Entry {
    kind: Kind,
    method: String,
    path: String,
    reason: String,
    used: bool,
    rejected: bool,
}

impl Exceptions {
    /// Creates exceptions for routes that anyone may call, each with its reason:
    /// `("GET /health", "the load balancer calls it")`.
    ///
    /// Write a route as in the panic message: the method (or `*` for all its methods), a space and
    /// the pattern. `<unmatched>` at the end stands for requests that match no route:
    /// `* /<unmatched>` is the application's default service. An exception for a route that does
    /// not exist fails the audit. An exception for a route that rejects callers without a key also
    /// fails the audit. If the route lost its check later, the exception would hide the mistake.
    ///
    /// ```
    /// use api_key_runtime::route_audit::Exceptions;
    ///
    /// let exceptions = Exceptions::public([
    ///     ("GET /health", "the load balancer calls it"),
    ///     ("* /<unmatched>", "a page that says what was not found"),
    /// ]);
    /// ```
    pub fn public<'a>(routes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut exceptions = Self::default();
        exceptions.add(Kind::Public, routes);
        exceptions
    }

    /// Adds routes that the audit cannot check, each with its reason. The reason may name a test
    /// that checks the route instead.
    ///
    /// Such an exception applies only to a route that cannot be checked. A route that answers a
    /// caller without a key still fails.
    ///
    /// ```
    /// use api_key_runtime::route_audit::Exceptions;
    ///
    /// let exceptions = Exceptions::public([])
    ///     .unseen([("GET /beta", "behind the beta program's guard; tests/beta.rs calls it")]);
    /// ```
    pub fn unseen<'a>(mut self, routes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.add(Kind::Unseen, routes);
        self
    }

    /// Sets a path that matches a pattern, for a pattern from which the audit cannot generate a
    /// path. Replaces an earlier path for the same pattern.
    ///
    /// ```
    /// use api_key_runtime::route_audit::Exceptions;
    ///
    /// let exceptions =
    ///     Exceptions::public([]).sample(r"/cakes/{code:ck-\d{3}[xyz]}", "/cakes/ck-123x");
    /// ```
    pub fn sample(mut self, pattern: impl Into<String>, path: impl Into<String>) -> Self {
        self.samples.insert(pattern.into(), path.into());
        self
    }

    fn add<'a>(&mut self, kind: Kind, routes: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (route, reason) in routes {
            match route.split_once(' ') {
                _ if reason.trim().is_empty() => self.faults.push(format!(
                    "{route} is listed as an exception without a reason; give the reason in the second string"
                )),
                Some((method, path)) if !method.is_empty() && path.starts_with('/') => {
                    self.entries.push(Entry {
                        kind,
                        method: method.to_owned(),
                        path: path.to_owned(),
                        reason: reason.trim().to_owned(),
                        used: false,
                        rejected: false,
                    });
                }
                _ => self.faults.push(format!(
                    "{route:?} is not a route; write a method or *, one space and the pattern, such as \"GET /health\""
                )),
            }
        }
    }

    /// Returns the reason of the exception for a route, or `None` without an exception. An
    /// exception for a public route applies even if the audit cannot see the route.
    pub(super) fn reason(&mut self, kind: Kind, method: &str, path: &str) -> Option<String> {
        let mut reason = None;
        for entry in &mut self.entries {
            if (entry.kind == kind || entry.kind == Kind::Public) && entry.names(method, path) {
                entry.used = true;
                reason = Some(entry.reason.clone());
            }
        }
        reason
    }

    pub(super) fn rejected(&mut self, method: &str, path: &str) {
        for entry in &mut self.entries {
            entry.rejected |= entry.names(method, path);
        }
    }

    /// Returns a violation for each exception that was not used.
    pub(super) fn stale(&self) -> impl Iterator<Item = String> {
        self.entries.iter().filter(|entry| !entry.used).map(|entry| {
            let Entry { method, path, .. } = entry;
            match (entry.kind, entry.rejected) {
                (Kind::Public, true) => format!(
                    "{method} {path} is listed as public, but rejects a caller without a key; remove it from the list"
                ),
                (Kind::Public, false) => format!(
                    "{method} {path} is listed as public, but nothing answers there; remove it from the list, or write it as the \
                     application does"
                ),
                (Kind::Unseen, _) => format!(
                    "{method} {path} is listed as unseen, but nothing there needs this exception; remove it from the list"
                ),
            }
        })
    }
}

impl Entry {
    fn names(&self, method: &str, path: &str) -> bool {
        self.path == path && (self.method == "*" || self.method == method)
    }
}
