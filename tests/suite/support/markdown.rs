//! Extracts code blocks, prose and inline code from Markdown.

/// Returns text and code blocks in turn, beginning with text. A fence must be a separate line.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            pieces.push(&text[begin..end]);
            begin = end + line.find("```").unwrap() + 3;
        }
        end += line.len();
    }
    pieces.push(&text[begin..]);
    pieces
}

/// Returns the language and the code of each code block.
pub(crate) fn blocks(text: &str) -> Vec<(&str, &str)> {
    let blocks = pieces(text).into_iter().skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').unwrap()).collect()
}

/// Returns the code of the blocks in this language.
pub(crate) fn blocks_in<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    blocks(text).into_iter().filter(|(own, _)| *own == language).map(|(_, code)| code).collect()
}

/// Returns the text between the blocks of code.
pub(crate) fn prose(text: &str) -> String {
    pieces(text).into_iter().step_by(2).collect()
}

/// Returns the inline code of the text.
pub(crate) fn spans(text: &str) -> Vec<&str> {
    let text = pieces(text).into_iter().step_by(2);
    text.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}
