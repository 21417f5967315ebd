//! Routes that were not reached or cannot be called.

use actix_web::http::Method;

use super::{Audit, Standing, Ways};
use crate::route_audit::{exceptions::Kind, routes::Route};

impl Audit<'_> {
    /// Records the methods of a route that no call reached.
    pub(super) fn unreached(
        &mut self,
        route: &Route,
        ways: &Ways,
        standings: &[(Method, Standing)],
    ) {
        // The guard is reported instead, by `opaque`.
        if route.is_behind_opaque_guard(self.routes) {
            return;
        }
        let answered = |standing: &Standing| standing.weight() >= Standing::Rejected.weight();
        if route.methods.is_empty() {
            // A file service answers methods other than GET and HEAD with 405. Only the response to
            // GET shows whether the files are protected.
            let telling = |method: &Method| !ways.is_prefix || method == Method::GET;
            if !standings.iter().any(|(method, standing)| telling(method) && answered(standing)) {
                self.unreached_as("*", route, ways, &Standing::Nothing);
            }
            return;
        }
        for (method, standing) in standings {
            if route.methods.contains(method) && !answered(standing) {
                self.unreached_as(method.as_str(), route, ways, standing);
            }
        }
    }

    fn unreached_as(&mut self, method: &str, route: &Route, ways: &Ways, standing: &Standing) {
        let path = &route.path;
        if let Some(reason) = self.exceptions.reason(Kind::Unseen, method, path) {
            self.report.unseen.push(format!("{method} {path} ({reason})"));
            return;
        }
        let (what, advice) = match standing {
            Standing::Elsewhere(other) => (
                format!("was not reached: {other} answered instead"),
                format!("register this route before {other}, or add a sample path that no other route matches: .sample({path:?}, \"..\")"),
            ),
            _ if ways.is_prefix => (
                "serves everything below a path, as Files does; the audit cannot see what is there, and a request for the path itself is not rejected".to_owned(),
                "put it into a scope with the middleware RequireAppKey".to_owned(),
            ),
            _ if !route.notes.is_empty() => (
                format!("was not reached; actix-web reports: {}", route.notes.join(", ")),
                "remove it, or register it where requests reach it".to_owned(),
            ),
            _ => (
                "was not reached by any request of the audit".to_owned(),
                "look for a middleware that changes paths, or for an earlier scope with the same path".to_owned(),
            ),
        };
        self.report.faults.push(format!(
            "{method} {path} {what}\n     {advice}, or give the reason why it need not be seen: .unseen([(\"{method} {path}\", \"..\")])"
        ));
    }

    pub(super) fn opaque(&mut self, route: &Route, guard: &str) {
        let whose = if route.is_resource { "" } else { "the scope, with everything in it, " };
        self.unseen(
            route,
            &format!("{whose}is behind a guard that the audit cannot satisfy: {guard}"),
            "test it separately and give the reason",
        );
    }

    /// Records a violation for each method without an exception.
    pub(super) fn unseen(&mut self, route: &Route, what: &str, advice: &str) {
        let path = &route.path;
        let mut methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
        if methods.is_empty() || !route.is_resource {
            methods = vec!["*"];
        }
        for method in methods {
            match self.exceptions.reason(Kind::Unseen, method, path) {
                Some(reason) => self.report.unseen.push(format!("{method} {path} ({reason})")),
                None => self.report.faults.push(format!(
                    "{method} {path} was not seen: {what}\n     {advice}: .unseen([(\"{method} {path}\", \"..\")])"
                )),
            }
        }
    }
}
