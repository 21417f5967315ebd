//! `tests/GUARANTEES.md`: each requirement in one sentence, with its tests. The comment above a
//! test begins with the numbers of its requirements.
//!
//! `sentences.txt` contains the sentences. This command renews `tests/GUARANTEES.md`:
//!
//! ```sh
//! UPDATE_GUARANTEES=1 cargo test -p api-key-tests --test suite guarantees
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const HEAD: &str = include_str!("head.md");
const SENTENCES: &str = include_str!("sentences.txt");
const TAIL: &str = include_str!("tail.md");

/// Folders with tests.
const FOLDERS: [&str; 5] =
    ["api-key-macros/src", "api-key-runtime", "examples", "tests/fuzz/fuzz_targets", "tests/suite"];

/// The letter and the number of a requirement, such as B2.
type Requirement = (char, u32);

/// The names of tests by file, for each requirement.
type Tests = BTreeMap<Requirement, BTreeMap<String, BTreeSet<String>>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the number at the start of a text, and the text after the number.
fn requirement(text: &str) -> Option<(Requirement, &str)> {
    let letter = text.chars().next().filter(char::is_ascii_uppercase)?;
    let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text[1..].split_at(digits);
    Some(((letter, number.parse().ok()?), rest))
}

/// Returns the numbers at the start of a comment: `// B2, B3` or `/// E3: ..`.
fn requirements_of(comment: &str) -> Vec<Requirement> {
    let mut rest = comment.trim_start_matches(['/', '!']).trim_start();
    let mut found = Vec::new();
    while let Some((requirement, after)) = requirement(rest) {
        found.push(requirement);
        rest = after.trim_start_matches([',', '.', ':', ';', ' ']);
    }
    found
}

/// Returns the name of the test, of the test module or of the fuzz target in this line. The name
/// may be in the next line.
fn name<'a>(line: &'a str, next: Option<&'a str>) -> Option<&'a str> {
    const BEFORE: [&str; 4] = ["fn ", "_test!(", "api_key_runtime::fuzz::", "mod "];
    let (_, after) = BEFORE.iter().find_map(|before| line.split_once(before))?;
    let after = if after.is_empty() { next?.trim_start() } else { after };
    let end = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(after.len());
    Some(&after[..end])
}

fn collect(folder: &Path, tests: &mut Tests) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, tests);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            collect_file(&file, &fs::read_to_string(&path).unwrap(), tests);
        }
    }
}

fn collect_file(file: &str, text: &str, tests: &mut Tests) {
    let mut pending = Vec::new();
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("//") {
            pending.extend(requirements_of(line));
        } else if let Some(name) = name(line, lines.peek().copied()) {
            for requirement in pending.drain(..) {
                let files = tests.entry(requirement).or_default();
                files.entry(file.to_owned()).or_default().insert(name.to_owned());
            }
        } else if !line.starts_with('#') {
            pending.clear();
        }
    }
}

fn render(tests: &Tests) -> String {
    let mut text = HEAD.to_owned();
    for line in SENTENCES.lines() {
        if let Some((requirement, sentence)) = requirement(line) {
            writeln!(text, "- **{}{}**{sentence}", requirement.0, requirement.1).unwrap();
            for (file, names) in &tests[&requirement] {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                writeln!(text, "  - {file}: {}", names.join(", ")).unwrap();
            }
        } else if !line.is_empty() {
            writeln!(text, "\n## {line}\n").unwrap();
        }
    }
    format!("{text}\n{TAIL}")
}

#[test]
fn the_list_of_guarantees_is_current() {
    let mut tests = Tests::new();
    for folder in FOLDERS {
        collect(&root().join(folder), &mut tests);
    }
    let sentences: BTreeMap<Requirement, &str> =
        SENTENCES.lines().filter_map(requirement).collect();
    for (requirement, sentence) in &sentences {
        let words = sentence.split_whitespace().count();
        assert!((3..=25).contains(&words), "{requirement:?} has {words} words");
        assert!(tests.contains_key(requirement), "{requirement:?} has no test");
    }
    for requirement in tests.keys() {
        assert!(sentences.contains_key(requirement), "{requirement:?} is not in sentences.txt");
    }
    let (file, text) = (root().join("tests/GUARANTEES.md"), render(&tests));
    if std::env::var_os("UPDATE_GUARANTEES").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == text,
        "tests/GUARANTEES.md is not current; renew it with \
         `UPDATE_GUARANTEES=1 cargo test -p api-key-tests --test suite guarantees`"
    );
}
