//! Every link of a chapter has two targets: a file on a forge, and an item in rustdoc.
//!
//! The chapter defines the first target, and `rustdoc_links.md` the second. Rustdoc itself checks
//! that the second target exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
};

use super::{chapter, chapters, folder};
use crate::support::markdown;

const DATA_URL: &str = "data:image/svg+xml,";

/// Returns the names and texts of the chapters and of the guide's README.
fn texts() -> Vec<(String, String)> {
    let names = chapters::table().into_iter().map(|(name, _)| name);
    names.chain(["README".to_owned()]).map(|name| (name.clone(), chapter(&name))).collect()
}

/// Returns the label and the target of a line `[label]: target`.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

fn definitions(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(definition).collect()
}

/// Returns the labels of links that refer to a definition, and the targets of inline links.
fn links(text: &str) -> (BTreeSet<String>, Vec<String>) {
    let prose = markdown::prose(text);
    let lines: Vec<&str> = prose.lines().filter(|line| definition(line).is_none()).collect();
    let prose = lines.join("\n");
    let (mut labels, mut inline) = (BTreeSet::new(), Vec::new());
    let (mut in_code, mut begin) = (false, None);
    for (at, character) in prose.char_indices() {
        match character {
            '`' => in_code = !in_code,
            '[' if !in_code => begin = Some(at + 1),
            ']' if !in_code => {
                let label = &prose[begin.take().expect("a bracket that nothing opens")..at];
                let after = &prose[at + 1..];
                if let Some(target) = after.strip_prefix('(') {
                    inline.push(target.split(')').next().unwrap().to_owned());
                } else if !after.starts_with('[') && !label.trim().is_empty() {
                    labels.insert(label.to_owned());
                }
            }
            _ => {}
        }
    }
    (labels, inline)
}

#[test]
fn links_have_targets_on_a_forge() {
    for (name, text) in texts() {
        let definitions = definitions(&text);
        let (labels, inline) = links(&text);
        let defined: BTreeSet<String> = definitions.keys().map(|&label| label.to_owned()).collect();
        assert_eq!(labels, defined, "{name}: links on the left, definitions on the right");
        for (label, target) in definitions {
            assert!(folder().join(target).is_file(), "{name}: [{label}] leads to {target}");
        }
        for target in inline {
            assert!(target.starts_with("https://"), "{name}: define a link to {target}");
        }
    }
}

#[test]
fn links_have_targets_in_rustdoc() {
    let in_rustdoc = chapter("rustdoc_links");
    let defined: BTreeSet<String> =
        definitions(&in_rustdoc).keys().map(|&label| label.to_owned()).collect();
    let used: BTreeSet<String> = texts().iter().flat_map(|(_, text)| links(text).0).collect();
    assert_eq!(used, defined, "links on the left, definitions in rustdoc_links.md on the right");
}

/// Rustdoc cannot include image files, so each drawing is embedded as a `data:` URL.
#[test]
fn rustdoc_has_the_unchanged_drawings() {
    let path = folder().join("rustdoc_links.md");
    let text = fs::read_to_string(&path).unwrap();
    let renew = |line: &str| match definition(line) {
        Some((label, target)) if target.starts_with(DATA_URL) => {
            format!("[{label}]: {}\n", data_url(label))
        }
        _ => format!("{line}\n"),
    };
    let renewed: String = text.lines().map(renew).collect();
    if env::var_os("UPDATE_GUIDE").is_some() {
        fs::write(path, renewed).unwrap();
    } else {
        assert!(text == renewed, "a drawing changed: run this test once with UPDATE_GUIDE=1");
    }
}

fn data_url(drawing: &str) -> String {
    let drawing = fs::read_to_string(folder().join(drawing)).unwrap();
    let mut url = DATA_URL.to_owned();
    for byte in drawing.trim_end().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:=,;".contains(&byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").unwrap();
        }
    }
    url
}
