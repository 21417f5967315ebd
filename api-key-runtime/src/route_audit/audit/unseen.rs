//! What was not reached, or cannot be called.

use actix_web::http::Method;

use super::{Audit, Standing, Ways};
use crate::route_audit::{exceptions::Kind, routes::Route};

impl Audit<'_> {
    /// What the route says it answers to, and nothing of it did.
    pub(super) fn unreached(
        &mut self,
        route: &Route,
        ways: &Ways,
        standings: &[(Method, Standing)],
    ) {
        // The guard itself is listed.
        if route.is_behind_opaque_guard(self.routes) {
            return;
        }
        let answered = |standing: &Standing| standing.weight() >= Standing::Refused.weight();
        if route.methods.is_empty() {
            // Files answer other methods than GET by themselves, which tells nothing of the files.
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
                format!("was not reached: {other} took every path that was tried"),
                format!("register it before {other}, or name a path that it alone takes: .sample({path:?}, \"..\")"),
            ),
            _ if ways.is_prefix => (
                "serves what is below a path, as files do; what it has there cannot be seen, and the path alone is not rejected".to_owned(),
                "put it into a scope behind a middleware that asks for a key".to_owned(),
            ),
            _ if !route.notes.is_empty() => (
                format!("was not reached; actix-web says {}", route.notes.join(", ")),
                "take it out, or register it where it is reached".to_owned(),
            ),
            _ => (
                "was not reached: no call that was tried led to it".to_owned(),
                "look for a middleware that changes paths, or a scope of the same path before it".to_owned(),
            ),
        };
        self.report.faults.push(format!(
            "{method} {path} {what}\n     {advice}, or say why it need not be seen: .unseen([(\"{method} {path}\", \"..\")])"
        ));
    }

    pub(super) fn opaque(&mut self, route: &Route, guard: &str) {
        let whose = if route.is_resource { "" } else { "the scope, with all that is in it, " };
        self.unseen(
            route,
            &format!("{whose}stands behind a guard that cannot be satisfied on purpose: {guard}"),
            "test it by itself",
        );
    }

    /// A fault, unless there is a reason for each of its methods.
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
                    "{method} {path} was not seen: {what}\n     {advice}, and say so: .unseen([(\"{method} {path}\", \"..\")])"
                )),
            }
        }
    }
}
