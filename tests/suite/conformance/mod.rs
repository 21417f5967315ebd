//! The conformance runner: a caller that speaks raw HTTP/1.1 to any service of this project and judges what it answers.
//!
//! A [`Target`] describes a service: where it listens, its keys, what its guarded handlers count, its clock. The cases are data, by
//! theme; each has a name that stays, the requirements it stands for, and what it does to a target. They run against the project's own
//! service on Postgres, on SQLite and in memory, guarded by the attribute and by the middleware, and against services that are broken on purpose, to see that the cases notice.
#![allow(clippy::too_many_lines, reason = "lists of cases are long")]

mod answers;
mod bodies;
mod broken;
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

/// What a case does to a target; where it does not hold, why.
type Holds = Box<dyn Fn(&Target) -> Result<(), String>>;

/// Something that must hold of every service.
struct Case {
    name: String,
    /// The requirements it stands for.
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

/// What became of the cases.
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

/// Runs the cases one after the other: they share the target's counters and clock.
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

type Theme = (&'static str, fn() -> Vec<Case>);

/// The cases by theme.
const THEMES: [Theme; 10] = [
    ("credentials", credentials::cases),
    ("characters", characters::cases),
    ("paths", paths::cases),
    ("methods", methods::cases),
    ("proxies", proxies::cases),
    ("bodies", bodies::cases),
    ("connections", connections::cases),
    ("smuggling", smuggling::cases),
    ("answers", answers::cases),
    ("rights", rights::cases),
];

fn all_cases() -> Vec<Case> {
    THEMES.iter().flat_map(|(_, cases)| cases()).collect()
}

fn holds(target: &Target, cases: &[Case]) {
    let report = run(target, cases);
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
}

/// One theme against the project's own service, on both databases and in memory.
macro_rules! conformance_test {
    ($theme:ident, $routes:path) => {
        mod $theme {
            use super::*;

            database_test!(on, |database: Database| {
                holds(
                    &product::on_database(database, $routes).target,
                    &crate::conformance::$theme::cases(),
                );
            });

            #[test]
            fn in_memory() {
                holds(&product::in_memory($routes).target, &crate::conformance::$theme::cases());
            }
        }
    };
}

mod product_conforms {
    use super::*;

    // A5, A8, B1, B2, B3, B5, B7, B10
    conformance_test!(credentials, product::attributed);

    // A8, B4, B5, B6, B9
    conformance_test!(characters, product::attributed);

    // B9, B11
    conformance_test!(paths, product::attributed);

    // B12, D6
    conformance_test!(methods, product::attributed);

    // C1, C3, C4, C5, C6, C7, C8, C11, C16
    conformance_test!(proxies, product::attributed);

    // B8
    conformance_test!(bodies, product::attributed);

    // B14, D6
    conformance_test!(connections, product::attributed);

    // B10, B11, B14
    conformance_test!(smuggling, product::attributed);

    // D1, D2, D3, D4, D5
    conformance_test!(answers, product::attributed);

    // D1, D2, E5
    conformance_test!(rights, product::attributed);
}

/// The same service, whose handlers have no attribute.
mod middleware_conforms {
    use super::*;

    // A5, A8, B1, B2, B3, B5, B7, B10
    conformance_test!(credentials, wrapped::routes);

    // A8, B4, B5, B6, B9
    conformance_test!(characters, wrapped::routes);

    // B9, B11
    conformance_test!(paths, wrapped::routes);

    // B12, D6
    conformance_test!(methods, wrapped::routes);

    // C1, C3, C4, C5, C6, C7, C8, C11, C16
    conformance_test!(proxies, wrapped::routes);

    // B8
    conformance_test!(bodies, wrapped::routes);

    // B14, D6
    conformance_test!(connections, wrapped::routes);

    // B10, B11, B14
    conformance_test!(smuggling, wrapped::routes);

    // D1, D2, D3, D4, D5
    conformance_test!(answers, wrapped::routes);

    // D1, D2, E5
    conformance_test!(rights, wrapped::routes);
}

// B9
database_test!(no_value_of_a_header_or_query_is_the_server_s_fault, |database: Database| {
    fuzzed::never_a_fault(&product::on_database(database, product::attributed).target).unwrap();
});

// B3, B6, B9, C3, C4
#[test]
fn random_requests_are_answered_as_the_model_answers_them() {
    fuzzed::answer_alike(
        &model::serve(None).target,
        &product::in_memory(product::attributed).target,
    )
    .unwrap();
}

#[test]
fn every_case_has_a_name_of_its_own() {
    for (theme, cases) in THEMES {
        println!("{theme}: {} cases", cases().len());
    }
    let cases = all_cases();
    let mut names = HashSet::new();
    for case in &cases {
        assert!(names.insert(&case.name), "{} twice", case.name);
        assert!(!case.requirements.is_empty(), "{} stands for nothing", case.name);
    }
}
