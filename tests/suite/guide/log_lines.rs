//! The table of log lines in `logs.md`. It contains exactly the lines that the code can write.

use std::collections::BTreeMap;

use super::chapter;
use crate::{
    code::{product, source_files},
    support::programs::root,
};

/// Calls that write a log line, each with the level of the line. `OutageLog` writes the texts that
/// its callers pass.
const CALLS: [(&str, &str); 6] = [
    ("log::error!(", "error"),
    ("log::warn!(", "warn"),
    ("log::info!(", "info"),
    ("log::debug!(", "debug"),
    ("outage.failure(", "error"),
    ("outage.success(", "info"),
];

/// Log lines whose text is a parameter: the file that logs, the level, the file with the text, and
/// the beginning of the text.
const ELSEWHERE: [(&str, &str, &str, &str); 7] = [
    ("app_key.rs", "error", "app_key.rs", "the handler of"),
    ("app_keys/close.rs", "warn", "app_keys/close.rs", "cannot close AppKeys"),
    ("rejection/log.rs", "warn", "rejection/log.rs", "cannot check"),
    ("rejection/log.rs", "warn", "rejection/log.rs", "Unauthorized"),
    ("supervisor.rs", "error", "change_feed/mod.rs", "cannot start"),
    ("supervisor.rs", "error", "lookup/threads.rs", "cannot start"),
    ("supervisor.rs", "error", "usage/writer.rs", "cannot start"),
];

/// A line of the log: the file that writes the line, the level, and the text with `..` for values.
struct Line {
    file: String,
    level: &'static str,
    text: String,
}

impl Line {
    fn begins_with(&self, row: &(String, String)) -> bool {
        let beginning = row.1.strip_suffix(" ..").unwrap_or(&row.1);
        self.level == row.0 && self.text.starts_with(beginning)
    }
}

/// Returns the files of the library with their code, but without unit tests.
fn sources() -> BTreeMap<String, String> {
    let base = root().join("api-key-runtime/src");
    let files = source_files().into_iter().filter_map(|(path, text)| {
        let name = path.strip_prefix(&base).ok()?.to_str().unwrap().to_owned();
        let is_product = !name.ends_with("tests.rs") && name != "log.rs";
        is_product.then(|| (name, product(&text).to_owned()))
    });
    files.collect()
}

/// Returns the first string literal of this code, with `..` for placeholders, and the code after
/// the literal.
fn literal(code: &str) -> Option<(String, &str)> {
    let (_, code) = code.split_once('"')?;
    let (mut text, mut rest) = (String::new(), code.chars());
    loop {
        match rest.next()? {
            '"' => return Some((text, rest.as_str())),
            '\\' => match rest.next()? {
                '\n' => rest = rest.as_str().trim_start().chars(),
                escaped => text.push(escaped),
            },
            '{' => {
                rest.find(|&character| character == '}');
                text.push_str("..");
            }
            character => text.push(character),
        }
    }
}

fn literals(mut code: &str) -> Vec<String> {
    let mut literals = Vec::new();
    while let Some((text, after)) = literal(code) {
        literals.push(text);
        code = after;
    }
    literals
}

/// Returns every line that the code can write.
fn lines() -> Vec<Line> {
    let sources = sources();
    let mut lines = Vec::new();
    for (file, code) in &sources {
        for (call, level) in CALLS {
            for after in code.split(call).skip(1) {
                let (text, _) = literal(after).unwrap();
                if text.contains(char::is_alphabetic) {
                    lines.push(Line { file: file.clone(), level, text });
                } else {
                    let is_named = ELSEWHERE.iter().any(|line| line.0 == file);
                    assert!(is_named || file == "outage_log.rs", "name the texts of {file}");
                }
            }
        }
    }
    for (_, level, file, beginning) in ELSEWHERE {
        let texts = literals(&sources[file]).into_iter().filter(|text| text.starts_with(beginning));
        let before = lines.len();
        lines.extend(texts.map(|text| Line { file: file.to_owned(), level, text }));
        assert!(lines.len() > before, "{file} has no text that begins with {beginning:?}");
    }
    assert!(lines.len() > 40, "the log is written in another way");
    lines
}

/// Returns the level and the beginning of each row.
fn table() -> Vec<(String, String)> {
    let logs = chapter("logs");
    let rows = logs.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"));
    let rows: Vec<(String, String)> = rows
        .map(|(level, rest)| (level.to_owned(), rest.split('`').next().unwrap().to_owned()))
        .collect();
    assert!(rows.len() > 40, "the table of logs.md has another form");
    rows
}

// K7
#[test]
fn the_table_has_every_line_and_no_other() {
    let rows = table();
    let lines = lines();
    let missing: Vec<String> = lines
        .iter()
        .filter(|line| !rows.iter().any(|row| line.begins_with(row)))
        .map(|Line { file, level, text }| format!("{file}: | {level} | `{text}` |"))
        .collect();
    assert!(missing.is_empty(), "add to the table of guide/logs.md: {missing:#?}");
    let gone: Vec<_> =
        rows.iter().filter(|row| !lines.iter().any(|line| line.begins_with(row))).collect();
    assert!(gone.is_empty(), "no code writes these lines of guide/logs.md: {gone:#?}");
}
