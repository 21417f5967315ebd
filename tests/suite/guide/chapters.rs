//! The form of the chapters: one question each, code on the first screen, and no hidden code.

use std::{collections::BTreeSet, fs};

use super::{chapter, folder};
use crate::support::{markdown, programs::root};

/// Number of lines that a reader sees without scrolling.
const FIRST_SCREEN: usize = 20;

/// Returns the chapters and their questions, in the order of the table.
pub(super) fn table() -> Vec<(String, String)> {
    let readme = chapter("README");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| ["));
    rows.map(|row| {
        let (name, question) = row.split_once("] | ").unwrap();
        (name.to_owned(), question.strip_suffix(" |").unwrap().to_owned())
    })
    .collect()
}

#[test]
fn the_table_lists_every_chapter() {
    let listed: Vec<String> = table().into_iter().map(|(name, _)| name).collect();
    let code = fs::read_to_string(root().join("api-key-runtime/src/guide.rs")).unwrap();
    let (_, modules) = code.split_once("\nchapters! {\n").unwrap();
    let modules = modules.split('}').next().unwrap();
    assert_eq!(modules.split_whitespace().collect::<Vec<_>>(), listed, "src/guide.rs");
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let mut files: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(files.remove("README") && files.remove("rustdoc_links"));
    assert_eq!(files, listed.into_iter().collect());
}

#[test]
fn a_chapter_is_one_question_and_links_to_the_next() {
    let table = table();
    for (at, (name, question)) in table.iter().enumerate() {
        let text = chapter(name);
        assert_eq!(text.lines().next().unwrap(), format!("# {question}"), "{name}");
        let titles = markdown::prose(&text).lines().filter(|line| line.starts_with("# ")).count();
        assert_eq!(titles, 1, "{name} has several titles");
        if let Some((next, _)) = table.get(at + 1) {
            let last = text.lines().rfind(|line| line.starts_with("Next: ")).unwrap_or_default();
            assert!(last.contains(&format!("[{next}]")), "{name} does not end with [{next}]");
        }
    }
}

#[test]
fn code_to_copy_is_on_the_first_screen() {
    for (name, _) in table() {
        let text = chapter(&name);
        let first = text.lines().position(|line| line.starts_with("```"));
        assert!(first.is_some_and(|line| line < FIRST_SCREEN), "{name}: {first:?}");
    }
}

/// Rustdoc hides lines of code that begin with `#`, but a forge shows them.
#[test]
fn no_code_is_hidden() {
    for (name, _) in table() {
        let text = chapter(&name);
        let rust = markdown::blocks(&text).into_iter().filter(|(kind, _)| kind.starts_with("rust"));
        for line in rust.flat_map(|(_, code)| code.lines()) {
            let line = line.trim_start();
            assert!(line != "#" && !line.starts_with("# "), "{name} hides {line}");
        }
    }
}
