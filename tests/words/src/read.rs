//! Finds the prose of a file: Markdown, comments, texts of pictures, and string literals that are
//! messages.

use crate::rules::pattern;
use pulldown_cmark::TagEnd::{BlockQuote, CodeBlock, Emphasis, Image, Link, Strong};
use pulldown_cmark::{Event, Options, Parser};
use ra_ap_rustc_lexer::LiteralKind::{RawStr, Str};
use ra_ap_rustc_lexer::{DocStyle, FrontmatterAllowed, TokenKind, tokenize};
use regex::Regex;
use std::sync::LazyLock;

/// The placeholder for inline code and format arguments, which counts as one word.
const CODE: &str = "`code`";

/// Text without line breaks, and the line of the file where each part of it begins.
#[derive(Debug, Default)]
pub(crate) struct Paragraph {
    pub(crate) text: String,
    parts: Vec<(usize, usize)>,
    pub(crate) is_quotation: bool,
    pub(crate) is_function_doc: bool,
}

impl Paragraph {
    fn push(&mut self, text: &str, line: usize) {
        self.parts.push((self.text.len(), line));
        self.text.push_str(text);
    }

    /// Returns the line of the file for an offset in the text.
    pub(crate) fn line(&self, offset: usize) -> usize {
        let part = self.parts.partition_point(|(start, _)| *start <= offset);
        self.parts[part.max(1) - 1].1
    }
}

/// A comment of one or more lines.
#[derive(Debug, Default)]
struct Comment {
    line: usize,
    text: String,
    style: Option<DocStyle>,
    is_alone: bool,
    is_function: bool,
}

impl Comment {
    fn is_continued_by(&self, next: &Self) -> bool {
        let are_alone = self.is_alone && next.is_alone;
        are_alone && self.style == next.style && self.end() + 1 == next.line
    }

    fn end(&self) -> usize {
        self.line + self.text.matches('\n').count()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Prose {
    pub(crate) paragraphs: Vec<Paragraph>,
    /// The numbers of the lines with a comment. The width of these lines is checked.
    pub(crate) comment_lines: Vec<usize>,
}

/// Returns the prose of a file, or `None` for a file that is not read.
pub(crate) fn read(path: &str, source: &str) -> Option<Prose> {
    let mut prose = Prose::default();
    match path.rsplit_once('.').unwrap_or_default().1 {
        // This file is generated from other files, which are read.
        _ if path == "tests/GUARANTEES.md" => return None,
        "md" => prose.add_markdown(source, 1, false),
        _ if path.ends_with("guarantees/sentences.txt") => {
            for (line, text) in (1..).zip(source.lines()) {
                prose.add_markdown(text.split_once(' ').map_or("", |(_, text)| text), line, false);
            }
        }
        "rs" => prose.add_rust(path, source),
        "sql" => prose.add_script(source, "--"),
        "toml" | "yml" => prose.add_script(source, "#"),
        "svg" => prose.add_svg(source),
        _ if source.starts_with("#!") => prose.add_script(source, "#"),
        _ => return None,
    }
    Some(prose)
}

impl Prose {
    fn add_markdown(&mut self, text: &str, first_line: usize, is_function_doc: bool) {
        let (mut is_quotation, mut is_code) = (false, false);
        let mut paragraph = Paragraph { is_function_doc, ..Paragraph::default() };
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = first_line + text[..range.start].matches('\n').count();
            let (edge, is_start) = match &event {
                Event::Start(tag) => (Some(tag.to_end()), true),
                Event::End(tag) => (Some(*tag), false),
                _ => (None, false),
            };
            match (event, edge) {
                (Event::Text(text), _) if !is_code => paragraph.push(&text, line),
                (Event::Code(_), _) => paragraph.push(CODE, line),
                (Event::SoftBreak | Event::HardBreak, _) => paragraph.push(" ", line),
                (_, None | Some(Emphasis | Strong | Link | Image)) => {}
                (_, Some(edge)) => {
                    self.end(&mut paragraph);
                    is_code = is_start && edge == CodeBlock;
                    is_quotation =
                        if matches!(edge, BlockQuote(_)) { is_start } else { is_quotation };
                    paragraph.is_quotation = is_quotation;
                }
            }
        }
    }

    fn end(&mut self, paragraph: &mut Paragraph) {
        if !paragraph.text.trim().is_empty() {
            self.paragraphs.push(std::mem::take(paragraph));
        }
    }

    /// Adds comments, and joins comments on successive lines.
    fn add_comments(&mut self, comments: impl IntoIterator<Item = Comment>) {
        let mut joined: Vec<Comment> = Vec::new();
        for comment in comments {
            self.comment_lines.extend(comment.line..=comment.end());
            match joined.last_mut().filter(|last| last.is_continued_by(&comment)) {
                Some(last) => last.text.extend(["\n", &comment.text]),
                None => joined.push(comment),
            }
        }
        for comment in joined {
            self.add_markdown(&comment.text, comment.line, comment.is_function);
        }
    }

    /// Adds comments that reach from a marker to the end of the line.
    fn add_script(&mut self, source: &str, marker: &str) {
        let comment =
            pattern(&format!(r#"^((?:[^"']|"[^"]*"|'[^']*')*?)(?:^|\s)(?:{marker})+([^!].*|$)"#));
        self.add_comments((1..).zip(source.lines()).filter_map(|(line, code)| {
            let found = comment.captures(code)?;
            let (is_alone, text) = (found[1].trim().is_empty(), found[2].trim_start().to_owned());
            Some(Comment { line, text, is_alone, ..Comment::default() })
        }));
    }

    fn add_svg(&mut self, source: &str) {
        let text = pattern(r"<(?:text|title|desc)\b[^>]*>\s*([^<]*)");
        for found in text.captures_iter(source).filter_map(|found| found.get(1)) {
            let line = 1 + source[..found.start()].matches('\n').count();
            self.add_markdown(found.as_str(), line, false);
        }
    }

    fn add_rust(&mut self, path: &str, source: &str) {
        static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
            let qualifiers =
                r#"(?:pub(?:\([^)]*\))?\s+)?(?:(?:async|const|unsafe|extern|"C")\s+)*"#;
            pattern(&format!(r"^(?:\s*(?://[^\n]*\n|#\[[^\]]*\]))*\s*{qualifiers}fn\b"))
        });
        let is_test = path.starts_with("tests/") || path.contains("/tests");
        let tests = if is_test { 0 } else { source.find("\nmod tests {").unwrap_or(source.len()) };
        let (mut start, mut line, mut comments) = (0, 1, Vec::<Comment>::new());
        for token in tokenize(source, FrontmatterAllowed::No) {
            let (before, rest) = source.split_at(start);
            let (text, rest) = rest.split_at(token.len as usize);
            let is_alone = before.rsplit('\n').next().is_none_or(|code| code.trim().is_empty());
            match token.kind {
                TokenKind::LineComment { doc_style: style }
                | TokenKind::BlockComment { doc_style: style, .. } => {
                    let text = text.trim_start_matches(['/', '*', '!']).trim_end_matches("*/");
                    let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
                    let is_product = style == Some(DocStyle::Outer) && start < tests;
                    let function = FUNCTION.find(rest).filter(|_| is_product);
                    let is_function = function.is_some_and(|head| !head.as_str().contains("test]"));
                    comments.push(Comment { line, text, style, is_alone, is_function });
                }
                // The first line of a code block in a `doc` attribute, as in an example that
                // depends on a feature.
                TokenKind::Literal { .. } if text.starts_with("\"```") => {
                    let style = comments.last().and_then(|last| last.style);
                    let (text, is_alone) = (text.trim_matches('"').to_owned(), true);
                    comments.push(Comment { line, text, style, is_alone, is_function: false });
                }
                TokenKind::Literal { kind: Str { .. } | RawStr { .. }, .. } => {
                    self.add_literal(text, line);
                }
                _ => {}
            }
            start += text.len();
            line += text.matches('\n').count();
        }
        self.add_comments(comments);
    }

    fn add_literal(&mut self, literal: &str, first_line: usize) {
        static CODE_LIKE: LazyLock<Regex> = LazyLock::new(|| {
            let sql = r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|GRANT|WHERE|VALUES)\b";
            pattern(&format!(r#"{sql}|HTTP/1|\bfn \w+\(|\{{\\?"|":"#))
        });
        static ARGUMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"`[^`]*`|\{[^{}\s]*\}"));
        static WORD: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:^|\s)[\pL']{2,}"));
        let text = literal.trim_matches(['r', '#']).trim_matches('"').replace("\\\"", "\"");
        if CODE_LIKE.is_match(&text) || WORD.find_iter(&text).count() < 3 {
            return;
        }
        let mut paragraph = Paragraph::default();
        for (line, text) in (first_line..).zip(text.lines()) {
            let (text, is_continued) =
                text.strip_suffix('\\').map_or((text, false), |text| (text, true));
            for (number, piece) in text.split("\\n").enumerate() {
                if number > 0 {
                    self.end(&mut paragraph);
                }
                paragraph.push(&ARGUMENT.replace_all(piece, CODE), line);
            }
            if !is_continued {
                self.end(&mut paragraph);
            }
        }
        self.end(&mut paragraph);
    }
}
