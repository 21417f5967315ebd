//! The header of an example's program: how to start it, and the lines to paste then.

use super::shell;
use crate::support::Database;

/// What a key that is not good is answered with.
pub(super) const NOT_GOOD: &str = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The API key is not valid here."}"#;
/// What who presents no key is answered with.
pub(super) const NO_KEY: &str = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This resource needs an API key."}"#;

/// The blocks for the shell in the header of this source.
pub(super) fn blocks(source: &str) -> Vec<String> {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let text: Vec<&str> = header.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    text.join("\n")
        .split("```")
        .filter_map(|block| block.strip_prefix("sh\n"))
        .map(str::to_owned)
        .collect()
}

/// Pastes the lines of the last block, with the first of each pair replaced by the second, and
/// answers what they print. The first block starts the example by this command.
pub(super) fn paste(
    source: &str,
    start: &str,
    places: &[(&str, &str)],
    settings: &[(&str, &str)],
) -> String {
    let [how_to_start, lines] = blocks(source).try_into().expect("two blocks");
    let first = how_to_start.lines().next().unwrap();
    assert!(first.ends_with(start), "{first}");
    let lines = places.iter().fold(lines, |lines, (written, here)| {
        assert!(lines.contains(written), "{written} is not in the lines");
        lines.replace(written, here)
    });
    shell(&lines, settings)
}

/// As [`paste`], of an example that serves from this database at this address.
pub(super) fn paste_at(
    source: &str,
    name: &str,
    address: std::net::SocketAddr,
    database: &Database,
) -> String {
    paste(
        source,
        &format!("cargo run --example {name}"),
        &[("127.0.0.1:8080", &address.to_string())],
        &[("DATABASE_URL", database.url())],
    )
}
