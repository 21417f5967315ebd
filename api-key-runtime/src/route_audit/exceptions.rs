//! What may go without a key, or without being looked at, and why.

use std::collections::BTreeMap;

/// The exceptions that [`assert_protected`](super::assert_protected) makes.
///
/// [`Exceptions::public`] creates them; `Exceptions::public([])` has no exception.
#[derive(Clone, Debug, Default)]
#[must_use = "it is handed to assert_protected"]
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
    refused: bool,
}

impl Exceptions {
    /// Names the routes that anyone may call, each with its reason:
    /// `("GET /health", "the load balancer asks it")`.
    ///
    /// A route is named as the failure prints it: its method, or `*` for every method it answers
    /// to, and its pattern. `<unmatched>` at the end is what no route matches: `* /<unmatched>` is
    /// the application's default service. A name that fits no route fails, and so does a name of a
    /// route that rejects callers without a key: it would hide a route of that name later.
    ///
    /// ```
    /// use api_key_runtime::route_audit::Exceptions;
    ///
    /// let exceptions = Exceptions::public([
    ///     ("GET /health", "the load balancer asks it"),
    ///     ("* /<unmatched>", "a page that says what was not found"),
    /// ]);
    /// ```
    pub fn public<'a>(routes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut exceptions = Self::default();
        exceptions.add(Kind::Public, routes);
        exceptions
    }

    /// Names routes that cannot be looked at, each with the reason why that is well: where it is
    /// tested instead, say.
    ///
    /// Only what cannot be seen is excepted: what answers a caller without a key fails all the
    /// same.
    ///
    /// ```
    /// use api_key_runtime::route_audit::Exceptions;
    ///
    /// let exceptions = Exceptions::public([]).unseen([("GET /beta", "behind the guard of the beta program; tests/beta.rs calls it")]);
    /// ```
    pub fn unseen<'a>(mut self, routes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.add(Kind::Unseen, routes);
        self
    }

    /// A path that this pattern matches, where none could be made up: one for each such pattern.
    ///
    /// ```
    /// use api_key_runtime::route_audit::Exceptions;
    ///
    /// let exceptions = Exceptions::public([]).sample(r"/cakes/{code:ck-\d{3}[xyz]}", "/cakes/ck-123x");
    /// ```
    pub fn sample(mut self, pattern: impl Into<String>, path: impl Into<String>) -> Self {
        self.samples.insert(pattern.into(), path.into());
        self
    }

    fn add<'a>(&mut self, kind: Kind, routes: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (route, reason) in routes {
            match route.split_once(' ') {
                _ if reason.trim().is_empty() => self.faults.push(format!(
                    "{route} is named as an exception without a reason: say why, in the second text"
                )),
                Some((method, path)) if !method.is_empty() && path.starts_with('/') => {
                    self.entries.push(Entry {
                        kind,
                        method: method.to_owned(),
                        path: path.to_owned(),
                        reason: reason.trim().to_owned(),
                        used: false,
                        refused: false,
                    });
                }
                _ => self.faults.push(format!(
                    "{route:?} names no route: write a method or *, one space and the pattern, such as \"GET /health\""
                )),
            }
        }
    }

    /// The reason why this may be, if it was given. A public route need not be seen.
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

    pub(super) fn refused(&mut self, method: &str, path: &str) {
        for entry in &mut self.entries {
            entry.refused |= entry.names(method, path);
        }
    }

    /// Names that excepted nothing.
    pub(super) fn stale(&self) -> impl Iterator<Item = String> {
        self.entries.iter().filter(|entry| !entry.used).map(|entry| {
            let Entry { method, path, .. } = entry;
            match (entry.kind, entry.refused) {
                (Kind::Public, true) => format!(
                    "{method} {path} is named as public, but rejects a caller without a key: take the name off the list"
                ),
                (Kind::Public, false) => format!(
                    "{method} {path} is named as public, but nothing answers there: take the name off the list, or write it as the \
                     application does"
                ),
                (Kind::Unseen, _) => format!(
                    "{method} {path} is named as unseen, but there is nothing there that could not be seen: take the name off the list"
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
