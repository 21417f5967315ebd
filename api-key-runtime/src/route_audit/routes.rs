//! The routes that an application has, and what stands before them.

use std::collections::BTreeMap;

use actix_web::{
    http::Method,
    introspection::{
        GuardDetailReport, GuardReport, IntrospectionNode, IntrospectionTree, ResourceType,
    },
};

/// Every method that actix-web has a guard for, and one that nobody has: a route may answer to more than it says.
pub(super) const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY",
    "PROBE",
];

/// Most combinations of headers that one route is called with.
const MOST_COMBINATIONS: usize = 64;

/// What is registered under one pattern. actix-web does not tell apart what shares a pattern.
pub(super) struct Route {
    pub(super) path: String,
    /// As they were written, without the scopes around.
    pub(super) patterns: Vec<String>,
    pub(super) is_scope: bool,
    pub(super) is_resource: bool,
    /// Those it says; none is all of them, or what it does not say.
    pub(super) methods: Vec<Method>,
    /// What its registration makes unlikely to be reached, in actix-web's words.
    pub(super) notes: Vec<String>,
    guards: Vec<GuardReport>,
}

pub(super) fn of(tree: &IntrospectionTree) -> Vec<Route> {
    let mut routes = Vec::new();
    collect(&tree.root, &mut routes);
    routes
}

fn collect(node: &IntrospectionNode, routes: &mut Vec<Route>) {
    // Without patterns it is a piece of other routes' paths.
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
    /// What is registered around it, and itself.
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

    /// A guard of its own that cannot be satisfied on purpose.
    pub(super) fn opaque_guard(&self) -> Option<&str> {
        self.guards.iter().map(|guard| guard.name.as_str()).find(|name| !is_known(name, true))
    }

    /// The same, of it or of a scope around it.
    pub(super) fn is_behind_opaque_guard(&self, routes: &[Route]) -> bool {
        self.around(routes).any(|route| route.opaque_guard().is_some())
    }

    /// Every combination of the headers that the guards of it and around it ask for, absent ones too; `None` where these are too many.
    pub(super) fn headers(&self, routes: &[Route]) -> Option<Vec<Vec<(String, String)>>> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let guards = self.around(routes).flat_map(|route| &route.guards);
        for (name, value) in guards.flat_map(|guard| &guard.details).flat_map(asked) {
            let known = values.entry(name.to_ascii_lowercase()).or_default();
            if !known.contains(&value) {
                known.push(value);
            }
        }
        let mut combinations = vec![Vec::new()];
        for (name, values) in values {
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

fn asked(detail: &GuardDetailReport) -> Vec<(String, String)> {
    match detail {
        GuardDetailReport::Headers { headers } => {
            headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect()
        }
        // Of `Acceptable`.
        GuardDetailReport::Generic { value } => value
            .strip_prefix("mime=")
            .map(|mime| ("accept".to_owned(), mime.to_owned()))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether a guard is made of actix-web's own alone, by its name. What a `Not` forbids is left out, which needs no knowledge of it; what
/// a `Not` within a `Not` asks for is not told.
fn is_known(name: &str, may_be_not: bool) -> bool {
    let inner = |prefix| name.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix(')'));
    if let Some(inner) = inner("AllGuard(").or_else(|| inner("AnyGuard(")) {
        return split(inner).into_iter().all(|name| is_known(name, may_be_not));
    }
    if let Some(inner) = inner("Not(") {
        return may_be_not && is_known(inner, false);
    }
    ["Header(", "Host(", "Acceptable("].into_iter().any(|prefix| inner(prefix).is_some())
        || !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

/// Splits at the commas that stand in no parentheses.
fn split(names: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    names
        .split(|character| {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        })
        .map(str::trim)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // B15
    #[test]
    fn only_guards_made_of_known_ones_are_known() {
        for known in [
            "GET",
            "Header(x-version, 1)",
            "Host(api.example.com, scheme=https)",
            "Acceptable(text/html)",
            "AllGuard(GET, AnyGuard(Header(a, 1), Host(b)))",
            "Not(AllGuard(GET, Header(a, 1)))",
        ] {
            assert!(is_known(known, true), "{known}");
        }
        for opaque in [
            "",
            "actix_web::guard::FnGuard<shop::routes::{{closure}}>",
            "shop::Beta",
            "AllGuard(GET, shop::Beta)",
            "AnyGuard(shop::Beta, GET)",
            "Not(shop::Beta)",
            "Not(Not(Header(a, 1)))",
        ] {
            assert!(!is_known(opaque, true), "{opaque}");
        }
    }
}
