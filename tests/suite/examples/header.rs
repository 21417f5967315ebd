//! The header of an example's source: how to start the example, and lines to paste afterwards.

use super::shell;
use crate::support::Database;

/// The body of the response to an invalid key.
pub(super) const NOT_GOOD: &str = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The API key is not valid here."}"#;
/// The body of the response to a request without a key.
pub(super) const NO_KEY: &str = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This resource needs an API key."}"#;

/// Returns the shell blocks in the header of this source.
pub(super) fn blocks(source: &str) -> Vec<String> {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let text: Vec<&str> = header.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    text.join("\n")
        .split("```")
        .filter_map(|block| block.strip_prefix("sh\n"))
        .map(str::to_owned)
        .collect()
}

/// Runs the lines of the last block and returns their output. In each pair of `places`, the second
/// text replaces the first. The first block must start the example by this command.
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
        assert!(lines.contains(written), "the lines do not contain {written}");
        lines.replace(written, here)
    });
    shell(&lines, settings)
}

/// Runs the lines as [`paste`] does, for an example with this database at this address.
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
