//! The example with a scope and a folder behind the middleware.

use api_key_runtime::admin::NewKey;

use super::{Example, header};
use crate::support::{Database, database_test, http};

const SOURCE: &str = include_str!("../../../examples/middleware/main.rs");
const INDEX: &str = include_str!("../../../examples/middleware/files/index.html");

fn serve(database: &Database) -> Example {
    Example::serving("middleware", &[("DATABASE_URL", database.url())])
}

database_test!(the_lines_in_the_header_show_reports_and_files, |database: Database| {
    let example = serve(&database);
    let shown = header::paste_at(SOURCE, "middleware", example.listens_at(), &database);
    let no_key = header::NO_KEY;
    assert_eq!(shown, format!("ok\nThe 2026 report for me.\n{INDEX}{no_key}{no_key}"));
});

// B11, D1
database_test!(a_key_without_the_scope_allows_only_the_files, |database: Database| {
    let new = NewKey::new("files").allow("127.0.0.1").unwrap();
    let (key, _) = database.issue_with(&new);
    let example = serve(&database);
    for (path, with_key, without) in [
        ("/health", 200, 200),
        ("/files/", 200, 401),
        ("/files/prices.txt", 200, 401),
        ("/files/no-such-file", 404, 401),
        ("/files/../main.rs", 404, 401),
        ("/reports/2026", 403, 401),
        ("/reports/no-such-report", 403, 401),
        ("/elsewhere", 404, 404),
    ] {
        let address = example.listens_at();
        assert_eq!(http::get_with(address, path, &key).status, with_key, "{path}");
        assert_eq!(http::get(address, path, &[]).status, without, "{path}");
    }
});
