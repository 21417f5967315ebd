//! Generates paths that match a pattern.

use actix_web::dev::ResourceDef;

/// A path segment that no application uses.
pub(super) const UNMATCHED: &str = "no-such-route-5f0c1e7b";

/// Maximum number of paths to try for one pattern, to find a path that no other route matches.
const MOST_PATHS: usize = 8;

/// Candidate values of a parameter: identifiers, dates, versions, names and other values. The
/// regular expression of the parameter decides which candidates match.
const VALUES: &[&str] = &[
    "1",
    "probe",
    "42",
    "a",
    "A",
    "zz",
    "ZZ",
    "100",
    "1234",
    "12345678",
    "abc",
    "ABC",
    "abcdefgh",
    "v1",
    "v2",
    "0.1",
    "1.0.0",
    "-1",
    "en",
    "en-GB",
    "true",
    "a-b",
    "a_b",
    "a1",
    "A1",
    "probe.txt",
    "probe.png",
    "probe.html",
    "probe.json",
    "probe.css",
    "probe.js",
    "2026-01-31",
    "12:00",
    "127.0.0.1",
    "user@example.com",
    "@probe",
    "67e55044-10b1-426f-9247-bb680e5fe0c8",
    "67E55044-10B1-426F-9247-BB680E5FE0C8",
    "67e5504410b1426f9247bb680e5fe0c8",
    "507f1f77bcf86cd799439011",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "probe/path",
    "probe/path.txt",
    "",
];

/// Returns percent-encoded paths that match a pattern, or none if no candidate matches.
pub(super) fn of(pattern: &str) -> Vec<String> {
    let pieces = pieces(pattern);
    let fillings: Vec<Vec<&str>> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Parameter(expression) => Some(values(expression)),
            Piece::Literal(_) => None,
        })
        .collect();
    let most = fillings.iter().map(Vec::len).max().unwrap_or(1);
    let definition = ResourceDef::new(pattern);
    let mut paths = Vec::new();
    for number in 0..most {
        let mut fillings = fillings.iter();
        let path: Option<String> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => Some(*text),
                Piece::Parameter(_) => {
                    let values = fillings.next()?;
                    values.get(number.min(values.len().saturating_sub(1))).copied()
                }
            })
            .collect();
        if let Some(path) = path.filter(|path| definition.is_match(path)) {
            let path = encoded(&path);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        if paths.len() == MOST_PATHS {
            break;
        }
    }
    paths
}

enum Piece<'a> {
    Literal(&'a str),
    /// The regular expression of a parameter. The expression of a tail is `.*`.
    Parameter(&'a str),
}

fn pieces(pattern: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((literal, after)) = rest.split_once('{') {
        pieces.push(Piece::Literal(literal));
        let mut depth = 1_usize;
        let end = after.find(|character| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let Some((parameter, after)) = end.and_then(|end| after.split_at_checked(end)) else {
            return pieces;
        };
        rest = after.strip_prefix('}').unwrap_or(after);
        let tail = rest.strip_prefix('*');
        rest = tail.unwrap_or(rest);
        pieces.push(Piece::Parameter(match parameter.split_once(':') {
            Some((_, expression)) => expression,
            None if tail.is_some() => ".*",
            None => "[^/]+",
        }));
    }
    pieces.push(Piece::Literal(rest));
    pieces
}

/// Returns values that match an expression. The candidates include the alternatives in the
/// expression itself, such as `txt|png`.
fn values(expression: &str) -> Vec<&str> {
    let definition = ResourceDef::new(format!("/{{value:{expression}}}"));
    let alternatives = expression.split(['|', '(', ')']);
    VALUES
        .iter()
        .copied()
        .chain(alternatives)
        .filter(|value| definition.is_match(&format!("/{value}")))
        .collect()
}

/// Returns a path percent-encoded for a request line, byte by byte (RFC 3986, section 3.3).
fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.extend(
                    char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()),
                );
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    // B15
    #[test]
    fn every_usual_pattern_gets_paths_that_it_matches() {
        for pattern in [
            "/",
            "/cakes",
            "/cakes/{id}",
            "/cakes/{id:\\d+}",
            "/{year:\\d{4}}",
            "/cakes/{id:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}}/slices/{slice}",
            "/{name}.{ending:txt|png}",
            "/{kind:(cakes|pies)}/{id}",
            "/files/{tail}*",
            "/files/{tail:.*}",
            "/kl\u{fc}che n/{id}",
        ] {
            let paths = of(pattern);
            assert!(!paths.is_empty(), "{pattern}");
            for path in paths {
                assert!(path.parse::<actix_web::http::Uri>().is_ok(), "{path}");
            }
        }
        assert_eq!(of("/cakes/{code:ck-\\d{3}[xyz]}"), [""; 0], "no candidate matches");
    }
}
