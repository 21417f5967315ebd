//! The rules of the card that a program can check.

use crate::read::Paragraph;
use regex::{Captures, Regex};
use std::{ops::Range, sync::LazyLock};

const MAX_WORDS: usize = 30;
const MAX_WIDTH: usize = 100;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Beginning,
    Word,
    Length,
    Width,
    Verb,
}

#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    pub(crate) excerpt: String,
    pub(crate) write: String,
}

/// "That" begins a clause if a determiner, pronoun or code follows. "That key" and "That is" pass.
static BEGINNING: LazyLock<Regex> = LazyLock::new(|| {
    let clause = "an?|the|this|these|those|it|they|he|she|there|no|not|nothing|every|each|all|any\
        |some|something|neither|both|one|two|such|exactly|only|its|their|our|your";
    pattern(&format!(r"^\W*(?:(?:Of|What|Who|Whoever|Whom)\b|That (?:(?:{clause})\b|`))"))
});
static QUOTATION: LazyLock<Regex> = LazyLock::new(|| pattern(r#""[^"]*"|“[^”]*”"#));
/// A word that is probably a third-person verb: it is capitalized and ends in "s".
static VERB: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Z]\w*s(?:[\s,.:;]|$)"));
static NOT_VERB: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:This|As|Is|Its|Always|Unless|Was|Thus)\b"));

/// The forbidden words, and what to write instead. A match with a captured group is allowed.
static WORDS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let lines = include_str!("../words.txt").lines();
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |(words, write): (&str, &'static str)| {
        (pattern(&format!(r"(?i)\b(?:{words})(?:\W|$)")), write)
    };
    entries.map(|line| entry(line.rsplit_once(" | ").expect("a bar in each line"))).collect()
});
pub(crate) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

/// Returns the findings of one paragraph.
pub(crate) fn check(paragraph: &Paragraph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for range in sentences(&paragraph.text) {
        let sentence = &paragraph.text[range.clone()];
        let mut add = |at: usize, rule, write: &str| {
            let line = paragraph.line(range.start + at);
            let start = sentence[..at].char_indices().rev().nth(29).map_or(0, |(start, _)| start);
            let excerpt = sentence[start..].to_owned();
            findings.push(Finding { line, rule, excerpt, write: write.to_owned() });
        };
        let words = sentence.split_whitespace().filter(|word| word.contains(char::is_alphanumeric));
        let words = words.count();
        if words > MAX_WORDS {
            add(0, Rule::Length, &format!("two sentences; this one has {words} words"));
        }
        let is_verb_due = paragraph.is_function_doc && range.start == 0;
        if is_verb_due && (!VERB.is_match(sentence) || NOT_VERB.is_match(sentence)) {
            add(0, Rule::Verb, "a verb first: Returns, Sets, Records ..");
        }
        if paragraph.is_quotation || sentence.ends_with('?') {
            continue;
        }
        let masked =
            QUOTATION.replace_all(sentence, |quoted: &Captures<'_>| "\"".repeat(quoted[0].len()));
        if !is_verb_due && BEGINNING.is_match(&masked) {
            add(0, Rule::Beginning, "the subject first");
        }
        for (words, write) in &*WORDS {
            let is_allowed = |found: &Captures<'_>| found.iter().flatten().count() > 1;
            for found in words.captures_iter(&masked).filter(|found| !is_allowed(found)) {
                add(found.get_match().start(), Rule::Word, write);
            }
        }
    }
    findings
}

/// Returns a finding if a line with a comment is too wide. URLs and table rows cannot be wrapped.
pub(crate) fn check_width(number: usize, line: &str) -> Option<Finding> {
    let text = line.trim().trim_start_matches(['/', '!', '#', '-', '*', ' ']);
    let is_address = text.contains("://") && text.split_whitespace().count() <= 2;
    let width = line.chars().count();
    (width > MAX_WIDTH && !is_address && !text.starts_with('|')).then(|| Finding {
        line: number,
        rule: Rule::Width,
        excerpt: line.trim().to_owned(),
        write: format!("at most {MAX_WIDTH} columns; this line has {width}"),
    })
}

/// Returns the ranges of the sentences of a text. The periods of "e.g." and ".." do not end a
/// sentence.
fn sentences(text: &str) -> Vec<Range<usize>> {
    static END: LazyLock<Regex> = LazyLock::new(|| pattern(r#"[^.\s]{2}[.?!]["”')\]]*(?:\s|$)|$"#));
    let (mut start, mut found) = (0, Vec::new());
    for end in END.find_iter(text) {
        let sentence = text[start..end.end()].trim_start();
        let begin = end.end() - sentence.len();
        if !sentence.is_empty() {
            found.push(begin..begin + sentence.trim_end().len());
        }
        start = end.end();
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::findings;

    #[test]
    fn each_rule_finds_what_it_forbids_and_nothing_else() {
        for case in include_str!("../cases.txt").split("\n---\n") {
            let (head, source) = case.split_once('\n').unwrap();
            let (path, expected) = head.split_once(": ").unwrap();
            let found: Vec<String> =
                findings(path, source).iter().map(|f| format!("{:?} {}", f.rule, f.line)).collect();
            assert_eq!(found.join(", "), expected.trim(), "{source}");
        }
    }
}
