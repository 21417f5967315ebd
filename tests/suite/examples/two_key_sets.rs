//! Two key sets in two databases.

use super::{Example, header};
use crate::support::{Database, database_test, http};

const SOURCE: &str = include_str!("../../../examples/two_key_sets/main.rs");

// A12
database_test!(a_key_is_valid_only_in_the_scope_of_its_set, |database: Database| {
    // The first set is in either kind of database, the second set in an SQLite file.
    let partners = Database::sqlite();
    let settings = [("DATABASE_URL", database.url()), ("PARTNER_DATABASE_URL", partners.url())];
    let example = Example::serving("two_key_sets", &settings);
    let address = example.listens_at();
    let shown = header::paste(
        SOURCE,
        "cargo run --example two_key_sets",
        &[("127.0.0.1:8080", &address.to_string())],
        &settings,
    );
    let refused = header::NOT_GOOD;
    assert_eq!(shown, format!("Hello, backup.\nHello, shop.\n{refused}"));
    let (ours, _) = database.issue("127.0.0.1");
    assert_eq!(http::get_with(address, "/internal/whoami", &ours).status, 200);
    assert_eq!(http::get_with(address, "/partner/whoami", &ours).status, 401);
});
