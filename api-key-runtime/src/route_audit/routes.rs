//! The routes of an application and the guards before them.

use std::collections::BTreeMap;

use actix_web::{
    http::Method,
    introspection::{
        GuardDetailReport, GuardReport, IntrospectionNode, IntrospectionTree, ResourceType,
    },
};

use crate::foreign_texts::{BuiltinGuard, acceptable_mime, builtin_guards};

/// Every method that actix-web has a guard for, and one unknown method. A route may answer more
/// methods than it declares.
pub(super) const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY",
    "PROBE",
];

/// Maximum number of header combinations with which one route is called.
const MOST_COMBINATIONS: usize = 64;

/// Everything that is registered under one pattern. actix-web does not distinguish registrations
/// that share a pattern.
pub(super) struct Route {
    pub(super) path: String,
    /// The patterns as registered, without the patterns of enclosing scopes.
    pub(super) patterns: Vec<String>,
    pub(super) is_scope: bool,
    pub(super) is_resource: bool,
    /// The declared methods. Empty if the route declares no method or accepts all methods.
    pub(super) methods: Vec<Method>,
    /// Notes of actix-web about why the route may be unreachable.
    pub(super) notes: Vec<String>,
    guards: Vec<GuardReport>,
}

pub(super) fn of(tree: &IntrospectionTree) -> Vec<Route> {
    let mut routes = Vec::new();
    collect(&tree.root, &mut routes);
    routes
}

fn collect(node: &IntrospectionNode, routes: &mut Vec<Route>) {
    // A node without patterns is only a part of other routes' paths.
    if !node.patterns.is_empty() {
        let is_resource = matches!(node.kind, ResourceType::Resource);
        let shared = node.patterns.len() > 1 && node.patterns.iter().any(String::is_empty);
        routes.push(Route {
            path: node.full_path.clone(),
            patterns: node.patterns.clone(),
            is_scope: !is_resource || shared,
            is_resource,
            methods: node.methods.clone(),
            notes: node.reachability_notes.clone(),
            guards: node.guard_details.clone(),
        });
    }
    for child in &node.children {
        collect(child, routes);
    }
}

impl Route {
    /// Returns the enclosing scopes and the route itself.
    fn around<'a>(&'a self, routes: &'a [Route]) -> impl Iterator<Item = &'a Route> {
        routes.iter().filter(|route| {
            std::ptr::eq(*route, self)
                || route.is_scope
                    && (route.path == "/"
                        || self.path.strip_prefix(route.path.as_str()).is_some_and(|rest| {
                            rest.is_empty() || rest.starts_with('/') || route.path.ends_with('/')
                        }))
        })
    }

    /// Returns the name of a guard on this route that the audit cannot satisfy.
    pub(super) fn opaque_guard(&self) -> Option<&str> {
        self.guards
            .iter()
            .map(|guard| guard.name.as_str())
            .find(|name| builtin_guards(name).is_none())
    }

    /// Returns whether the route or an enclosing scope has a guard that the audit cannot satisfy.
    pub(super) fn is_behind_opaque_guard(&self, routes: &[Route]) -> bool {
        self.around(routes).any(|route| route.opaque_guard().is_some())
    }

    /// Returns the declared methods, and the methods that guards of the route and of its scopes
    /// name. This includes a method within `Not`, because the audit must call the route both with
    /// this method and with other methods.
    pub(super) fn named_methods(&self, routes: &[Route]) -> Vec<Method> {
        let named =
            self.around(routes).flat_map(Self::builtin_guards).filter_map(|guard| match guard {
                BuiltinGuard::Method(name) => Method::from_bytes(name.as_bytes()).ok(),
                BuiltinGuard::Header(..) | BuiltinGuard::Host(..) => None,
            });
        self.methods.iter().cloned().chain(named).collect()
    }

    fn builtin_guards(&self) -> impl Iterator<Item = BuiltinGuard<'_>> {
        self.guards.iter().filter_map(|guard| builtin_guards(&guard.name)).flatten()
    }

    /// Returns all combinations of the headers that guards of the route and of its scopes require
    /// or exclude. A combination may omit any of these headers. Returns `None` if there are too
    /// many combinations.
    pub(super) fn headers(&self, routes: &[Route]) -> Option<Vec<Vec<(String, String)>>> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let guards = self.around(routes).flat_map(|route| &route.guards);
        let asked = guards.flat_map(|guard| &guard.details).flat_map(asked);
        let named = self.around(routes).flat_map(Self::builtin_guards).flat_map(named);
        for (name, value) in asked.chain(named) {
            let known = values.entry(name.to_ascii_lowercase()).or_default();
            if !known.contains(&value) {
                known.push(value);
            }
        }
        let mut combinations = vec![Vec::new()];
        for (name, values) in values {
            let values = if name == "accept" { lists(&values)? } else { values };
            let without = combinations.clone();
            for value in values {
                combinations.extend(without.iter().cloned().map(|mut headers| {
                    headers.push((name.clone(), value.clone()));
                    headers
                }));
                if combinations.len() > MOST_COMBINATIONS {
                    return None;
                }
            }
        }
        Some(combinations)
    }
}

/// Returns all lists that can be made of these media types, because a request may accept several
/// media types. Returns `None` if there are too many lists.
fn lists(types: &[String]) -> Option<Vec<String>> {
    let mut lists: Vec<String> = Vec::new();
    for kind in types {
        let longer: Vec<String> = lists.iter().map(|list| format!("{list}, {kind}")).collect();
        lists.push(kind.clone());
        lists.extend(longer);
        if lists.len() > MOST_COMBINATIONS {
            return None;
        }
    }
    Some(lists)
}

/// Returns the headers in the name of a guard. A guard within `Not` has no details, so its name is
/// the only source.
fn named(guard: BuiltinGuard<'_>) -> Vec<(String, String)> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match guard {
        BuiltinGuard::Method(_) => Vec::new(),
        BuiltinGuard::Header(name, value) => vec![header(name, value)],
        // A caller may write a scheme before the host in the header: the required scheme or another
        // scheme.
        BuiltinGuard::Host(host, scheme) => ["", &format!("{scheme}://"), "probe://"]
            .map(|scheme| header("host", &format!("{scheme}{host}")))
            .to_vec(),
    }
}

fn asked(detail: &GuardDetailReport) -> Vec<(String, String)> {
    match detail {
        GuardDetailReport::Headers { headers } => {
            headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect()
        }
        GuardDetailReport::Generic { value } => acceptable_mime(value)
            .map(|mime| ("accept".to_owned(), mime.to_owned()))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}
