//! The conformance cases. A client sends raw HTTP/1.1 to a service and checks the responses.
//!
//! A [`Target`] describes a service: its addresses, its keys, the counters of its guarded handlers
//! and its clock. The cases are grouped by theme. Each case has a name, its requirements, and a
//! function that tests a target. Every theme tests two services with keys in memory: one guarded by
//! the attribute, the other by the middleware. Themes that depend on stored data run on both
//! databases as well.
#![allow(clippy::too_many_lines, reason = "lists of cases are long")]

mod answers;
mod bodies;
mod characters;
mod connections;
mod credentials;
mod fuzzed;
mod methods;
mod model;
mod paths;
mod product;
mod proxies;
mod rights;
mod routes;
mod serving;
mod smuggling;
mod target;
mod wire;
mod wrapped;

use std::{collections::HashSet, fmt};

use self::target::Target;
use crate::support::{Database, database_test};

/// The function that tests a target. Its error explains why the case does not hold.
type Holds = Box<dyn Fn(&Target) -> Result<(), String>>;

/// A rule that must hold for every service.
struct Case {
    name: String,
    /// The requirements that the case tests.
    requirements: &'static str,
    holds: Holds,
}

fn case(
    name: impl Into<String>,
    requirements: &'static str,
    holds: impl Fn(&Target) -> Result<(), String> + 'static,
) -> Case {
    Case { name: name.into(), requirements, holds: Box::new(holds) }
}

/// The results of the cases.
struct Report {
    passed: usize,
    failed: Vec<Failure>,
}

struct Failure {
    name: String,
    requirements: &'static str,
    why: String,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} cases passed, {} failed", self.passed, self.failed.len())?;
        for Failure { name, requirements, why } in &self.failed {
            writeln!(formatter, "- {name} ({requirements}): {why}")?;
        }
        Ok(())
    }
}

/// Runs the cases one after the other, because they share the target's counters and clock.
fn run(target: &Target, cases: &[Case]) -> Report {
    let mut report = Report { passed: 0, failed: Vec::new() };
    for case in cases {
        match (case.holds)(target) {
            Ok(()) => report.passed += 1,
            Err(why) => report.failed.push(Failure {
                name: case.name.clone(),
                requirements: case.requirements,
                why,
            }),
        }
    }
    report
}

/// The cases by theme.
const THEMES: [fn() -> Vec<Case>; 10] = [
    credentials::cases,
    characters::cases,
    paths::cases,
    methods::cases,
    proxies::cases,
    bodies::cases,
    connections::cases,
    smuggling::cases,
    answers::cases,
    rights::cases,
];

fn holds(target: &Target, cases: &[Case]) {
    let report = run(target, cases);
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
}

/// Defines the test of one theme with keys in memory.
macro_rules! conformance_test {
    ($theme:ident, $routes:path) => {
        #[test]
        fn $theme() {
            holds(&product::in_memory($routes).target, &crate::conformance::$theme::cases());
        }
    };
}

mod attribute {
    use super::*;

    // A3, A5, A8, B1, B2, B3, B5, B6, B7, B10, D1
    conformance_test!(credentials, product::attributed);

    // A8, B4, B5, B6, B9, B10
    conformance_test!(characters, product::attributed);

    // B9, B11, B12
    conformance_test!(paths, product::attributed);

    // B9, B12, D4, D6
    conformance_test!(methods, product::attributed);

    // C1, C3, C4, C5, C6, C7, C8, C11, C16
    conformance_test!(proxies, product::attributed);

    // B8
    conformance_test!(bodies, product::attributed);

    // B14, D6
    conformance_test!(connections, product::attributed);

    // B10, B11, B14
    conformance_test!(smuggling, product::attributed);

    // A12, C5, D1, D2, D3, D4, D5
    conformance_test!(answers, product::attributed);

    // D1, D2, E5, F12
    conformance_test!(rights, product::attributed);
}

/// The same service, guarded by the middleware.
mod middleware {
    use super::*;

    // A3, A5, A8, B1, B2, B3, B5, B6, B7, B10, D1
    conformance_test!(credentials, wrapped::routes);

    // A8, B4, B5, B6, B9, B10
    conformance_test!(characters, wrapped::routes);

    // B9, B11, B12
    conformance_test!(paths, wrapped::routes);

    // B9, B12, D4, D6
    conformance_test!(methods, wrapped::routes);

    // C1, C3, C4, C5, C6, C7, C8, C11, C16
    conformance_test!(proxies, wrapped::routes);

    // B8
    conformance_test!(bodies, wrapped::routes);

    // B14, D6
    conformance_test!(connections, wrapped::routes);

    // B10, B11, B14
    conformance_test!(smuggling, wrapped::routes);

    // A12, C5, D1, D2, D3, D4, D5
    conformance_test!(answers, wrapped::routes);

    // D1, D2, E5, F12
    conformance_test!(rights, wrapped::routes);
}

/// The themes that depend on stored records.
mod stored {
    use super::*;

    // A5, A8, B7, C12
    database_test!(credentials, |database: Database| {
        let served = product::on_database(database, product::attributed);
        holds(&served.target, &crate::conformance::credentials::cases());
    });

    // D1, E5
    database_test!(rights, |database: Database| {
        let served = product::on_database(database, product::attributed);
        holds(&served.target, &crate::conformance::rights::cases());
    });
}

// B9
#[test]
fn no_header_or_query_value_causes_a_5xx() {
    fuzzed::never_a_fault(&product::in_memory(product::attributed).target).unwrap();
}

// B3, B6, B9, C3, C4
#[test]
fn random_requests_get_the_responses_of_the_model() {
    let own = product::in_memory(product::attributed);
    fuzzed::answer_alike(&model::serve().target, &own.target).unwrap();
}

#[test]
fn every_case_has_a_unique_name() {
    let cases: Vec<Case> = THEMES.iter().flat_map(|cases| cases()).collect();
    let mut names = HashSet::new();
    for case in &cases {
        assert!(names.insert(&case.name), "{} is duplicated", case.name);
        assert!(!case.requirements.is_empty(), "{} has no requirement", case.name);
    }
}
