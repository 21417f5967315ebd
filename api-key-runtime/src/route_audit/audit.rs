//! Calls every route with every method and checks the responses.

mod unseen;

use std::collections::HashMap;

use actix_web::{
    dev::ResourceDef,
    http::{Method, StatusCode},
};

use super::{
    ProtectionReport,
    exceptions::{Exceptions, Kind},
    paths::{self, UNMATCHED},
    probe::{Answer, Open, Prober, What},
    report::{PATH_OF_DEFAULT, label, open_fault},
    routes::{self, METHODS, Route},
};

pub(super) async fn audit(prober: &Prober, exceptions: Exceptions) -> ProtectionReport {
    let Some(tree) = &prober.tree else {
        return ProtectionReport {
            faults: vec!["actix-web did not list the routes, so no route was checked".to_owned()],
            ..ProtectionReport::default()
        };
    };
    let routes = routes::of(tree);
    let mut audit = Audit {
        prober,
        exceptions,
        report: ProtectionReport::default(),
        routes: &routes,
        defaults: HashMap::new(),
        without_keys: Vec::new(),
    };
    audit.application_default().await;
    for route in &routes {
        audit.route(route).await;
    }
    for external in &tree.externals {
        let patterns = external.patterns.join(", ");
        audit
            .report
            .unseen
            .push(format!("{patterns} (external resource: not served by this application)"));
    }
    if prober.has_middleware {
        audit
            .report
            .unseen
            .push("responses that a middleware generates for paths without a route".to_owned());
    }
    audit.finish()
}

struct Audit<'a> {
    prober: &'a Prober,
    exceptions: Exceptions,
    report: ProtectionReport,
    routes: &'a [Route],
    /// Responses of the application to requests that match no route, by method.
    defaults: HashMap<Method, What>,
    /// Routes for which no `AppKeys` were found.
    without_keys: Vec<String>,
}

/// The result of one call to a route. A result with a higher weight takes precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The response does not show whether the route is protected: for example, actix-web or a
    /// default service answered.
    Nothing,
    /// Another route answered.
    Elsewhere(String),
    Rejected,
    Open(What),
    NoAppKeys,
}

impl Standing {
    fn weight(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Elsewhere(_) => 1,
            Self::Rejected => 2,
            Self::Open(_) => 3,
            Self::NoAppKeys => 4,
        }
    }
}

/// The paths and headers with which one route is called.
struct Ways {
    paths: Vec<String>,
    headers: Vec<Vec<(String, String)>>,
    /// Whether the route also serves everything below its path, as `actix_files::Files` does.
    is_prefix: bool,
}

impl Audit<'_> {
    async fn application_default(&mut self) {
        let path = format!("/{UNMATCHED}");
        let mut standings = Vec::new();
        let named = self.routes.iter().flat_map(|route| route.named_methods(self.routes));
        for method in methods(&named.collect::<Vec<_>>()) {
            let answer = self.prober.call(&method, &path, &[]).await;
            standings.push((method.clone(), unmatched(&answer)));
            self.defaults.insert(method, answer.what);
        }
        self.record(PATH_OF_DEFAULT, &standings);
    }

    async fn route(&mut self, route: &Route) {
        if let Some(guard) = route.opaque_guard() {
            self.opaque(route, guard);
        }
        let Some(ways) = self.ways(route).await else {
            return;
        };
        if route.is_resource {
            self.resource(route, &ways).await;
        }
        if route.is_scope {
            self.scope_default(route, &ways).await;
        }
    }

    /// Returns the paths and headers with which to call a route. If the route cannot be called,
    /// returns `None` and records a violation or an exception.
    async fn ways(&mut self, route: &Route) -> Option<Ways> {
        let mut paths = match self.exceptions.samples.remove(&route.path) {
            Some(sample) if !fits(route, &sample) => {
                self.report.faults.push(format!(
                    "the sample {sample:?} does not match the pattern {}",
                    route.path
                ));
                return None;
            }
            Some(sample) => vec![sample],
            None => paths::of(&route.path),
        };
        let Some(first) = paths.first().cloned() else {
            self.unseen(
                route,
                "no path that matches this pattern could be generated",
                &format!(
                    "add a path with .sample({:?}, \"/a/matching/path\"), or give a reason",
                    route.path
                ),
            );
            return None;
        };
        let Some(headers) = route.headers(self.routes) else {
            self.unseen(
                route,
                "its guards accept too many combinations of headers to try all of them",
                "test it separately and give the reason",
            );
            return None;
        };
        let below = format!("{}/{UNMATCHED}", first.trim_end_matches('/'));
        let mut is_prefix = false;
        if route.is_resource {
            for headers in &headers {
                let answer = self.prober.call(&Method::GET, &below, headers).await;
                is_prefix |= answer.prefix().is_some_and(|pattern| is_pattern_of(pattern, route));
            }
        }
        if is_prefix {
            paths = vec![first, below];
        }
        Some(Ways { paths, headers, is_prefix })
    }

    async fn resource(&mut self, route: &Route, ways: &Ways) {
        let mut standings = Vec::new();
        for method in methods(&route.named_methods(self.routes)) {
            let standing = self.standing(route, ways, &method).await;
            standings.push((method, standing));
        }
        self.record(&route.path, &standings);
        self.unreached(route, ways, &standings);
    }

    /// Returns the result with the highest weight of all calls to a route with this method.
    async fn standing(&self, route: &Route, ways: &Ways, method: &Method) -> Standing {
        let mut weightiest = Standing::Nothing;
        for headers in &ways.headers {
            for path in &ways.paths {
                let answer = self.prober.call(method, path, headers).await;
                let standing = self.of_route(route, ways.is_prefix, method, path, &answer);
                let elsewhere = matches!(standing, Standing::Elsewhere(_));
                if standing.weight() > weightiest.weight() {
                    weightiest = standing;
                }
                // The remaining paths are called only if another route answered, or if the route
                // serves everything below its path.
                if !elsewhere && !ways.is_prefix {
                    break;
                }
            }
        }
        weightiest
    }

    fn of_route(
        &self,
        route: &Route,
        is_prefix: bool,
        method: &Method,
        path: &str,
        answer: &Answer,
    ) -> Standing {
        if let Some(pattern) = answer.resource()
            && !is_pattern_of(pattern, route)
        {
            return Standing::Elsewhere(pattern.to_owned());
        }
        let reached = answer.resource().is_some();
        match &answer.what {
            What::NoAppKeys => Standing::NoAppKeys,
            What::Rejected => Standing::Rejected,
            // The attribute on a default service, or on the fallback of a file service, does not
            // protect the other paths of the service.
            What::RejectedAtHandler if reached && !is_prefix => Standing::Rejected,
            What::Empty(StatusCode::NOT_FOUND) if reached && !is_prefix && !self.is_scope(path) => {
                Standing::Open(What::Open(Open::empty(StatusCode::NOT_FOUND)))
            }
            What::RejectedAtHandler | What::Empty(_) => Standing::Nothing,
            what if !reached && self.defaults.get(method) == Some(what) => Standing::Nothing,
            what => Standing::Open(what.clone()),
        }
    }

    /// Returns whether a scope matches exactly this path. For such a path, the default service of
    /// the scope may have answered.
    fn is_scope(&self, path: &str) -> bool {
        self.routes
            .iter()
            .any(|route| route.is_scope && ResourceDef::new(route.path.as_str()).is_match(path))
    }

    async fn scope_default(&mut self, scope: &Route, ways: &Ways) {
        let Some(path) = ways.paths.first() else {
            return;
        };
        let path = format!("{}/{UNMATCHED}", path.trim_end_matches('/'));
        let mut standings = Vec::new();
        for method in methods(&scope.named_methods(self.routes)) {
            let mut weightiest = Standing::Nothing;
            for headers in &ways.headers {
                let answer = self.prober.call(&method, &path, headers).await;
                // A response like that of the application's default service is skipped, because
                // that service is checked separately.
                if self.defaults.get(&method) == Some(&answer.what) {
                    continue;
                }
                let standing = unmatched(&answer);
                if standing.weight() > weightiest.weight() {
                    weightiest = standing;
                }
            }
            standings.push((method, weightiest));
        }
        let name = format!("{}{PATH_OF_DEFAULT}", scope.path.trim_end_matches('/'));
        self.record(&name, &standings);
    }

    /// Groups the methods of a route by result, and adds each group to the report.
    fn record(&mut self, path: &str, standings: &[(Method, Standing)]) {
        let mut rejected = Vec::new();
        let mut without_keys = Vec::new();
        let mut open: Vec<(What, Vec<&Method>)> = Vec::new();
        for (method, standing) in standings {
            match standing {
                Standing::Rejected => {
                    self.exceptions.rejected(method.as_str(), path);
                    rejected.push(method);
                }
                Standing::NoAppKeys => without_keys.push(method),
                Standing::Open(what) => match open.iter_mut().find(|(known, _)| known == what) {
                    Some((_, methods)) => methods.push(method),
                    None => open.push((what.clone(), vec![method])),
                },
                Standing::Nothing | Standing::Elsewhere(_) => {}
            }
        }
        let tried = standings.len();
        if !rejected.is_empty() {
            let label = label(&rejected, tried);
            self.report.protected.push(format!("{label} {path}"));
        }
        if !without_keys.is_empty() {
            let label = label(&without_keys, tried);
            self.without_keys.push(format!("{label} {path}"));
        }
        for (what, methods) in open {
            self.open(path, &what, methods, tried);
        }
    }

    fn open(&mut self, path: &str, what: &What, methods: Vec<&Method>, tried: usize) {
        let mut named: Vec<(String, Vec<&Method>)> = Vec::new();
        let mut open = Vec::new();
        for method in methods {
            match self.exceptions.reason(Kind::Public, method.as_str(), path) {
                None => open.push(method),
                Some(reason) => match named.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, methods)) => methods.push(method),
                    None => named.push((reason, vec![method])),
                },
            }
        }
        for (reason, methods) in named {
            let label = label(&methods, tried);
            self.report.public.push(format!("{label} {path} ({reason})"));
        }
        if !open.is_empty() {
            let fault = open_fault(path, what, &open, tried);
            self.report.faults.push(fault);
        }
    }

    fn finish(mut self) -> ProtectionReport {
        let mut faults = std::mem::take(&mut self.exceptions.faults);
        if !self.without_keys.is_empty() {
            faults.push(format!(
                "the application has no AppKeys, or two of them, so nothing could be checked at {}\n     \
                 add .app_data(keys) to it, such as TestKeys::new().app_keys",
                self.without_keys.join("; ")
            ));
        }
        faults.append(&mut self.report.faults);
        faults.extend(self.exceptions.stale());
        let samples = self.exceptions.samples.keys();
        faults.extend(samples.map(|pattern| {
            format!(
                "there is a sample for {pattern}, but no route has this pattern; remove the sample"
            )
        }));
        self.report.faults = faults;
        self.report
    }
}

/// Returns all known methods, then the other methods that a route names.
fn methods(named: &[Method]) -> Vec<Method> {
    let mut methods: Vec<Method> =
        METHODS.iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok()).collect();
    for method in named {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}

fn unmatched(answer: &Answer) -> Standing {
    // A matched resource, such as one with a tail pattern, is checked separately.
    if answer.resource().is_some() {
        return Standing::Nothing;
    }
    match &answer.what {
        What::NoAppKeys => Standing::NoAppKeys,
        What::Rejected | What::RejectedAtHandler => Standing::Rejected,
        What::Empty(StatusCode::NOT_FOUND) => Standing::Nothing,
        What::Empty(status) => Standing::Open(What::Open(Open::empty(*status))),
        what => Standing::Open(what.clone()),
    }
}

/// Returns whether a reported pattern belongs to a route. A resource with several patterns is
/// listed once for each pattern, but a request always reports the first pattern.
fn is_pattern_of(pattern: &str, route: &Route) -> bool {
    let plain = |text: &str| match text.replace("//", "/") {
        root if root.is_empty() => "/".to_owned(),
        path => path,
    };
    plain(pattern) == plain(&route.path)
        || route.patterns.len() > 1
            && route.patterns.iter().any(|own| !own.is_empty() && pattern.ends_with(own.as_str()))
}

fn fits(route: &Route, sample: &str) -> bool {
    let definition = if route.is_resource {
        ResourceDef::new(route.path.as_str())
    } else {
        ResourceDef::prefix(route.path.as_str())
    };
    sample.starts_with('/') && definition.is_match(sample)
}
