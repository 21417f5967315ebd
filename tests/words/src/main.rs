//! Checks the English of the repository against the card in `CONTRIBUTING.md`, and exits with 1 if
//! a rule is broken.
//!
//! ```sh
//! cargo run --package api-key-words                       # every file
//! cargo run --package api-key-words -- README.md examples # these files and folders
//! cargo run --package api-key-words -- --count            # the numbers of each folder
//! ```
//!
//! The program reads Markdown, the texts of SVG pictures, comments in Rust, SQL, TOML, YAML and
//! shell scripts, and messages in string literals. `words.txt` lists the forbidden words. Code and
//! quotations may contain them.

mod read;
mod rules;

use rules::{Finding, Rule};
use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    io::{self, ErrorKind, Write},
    path::Path,
    process::ExitCode,
    process::{Command, Stdio},
};

const RULES: [Rule; 5] = [Rule::Beginning, Rule::Word, Rule::Length, Rule::Width, Rule::Verb];
/// Maximum depth of the folders that are counted separately.
const DEPTH: usize = 3;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match print_findings(&mut io::stdout().lock()) {
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
        // A finding could not be printed, because the reader, such as `head`, closed the pipe.
        Err(error) if is_closed_pipe(&*error) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    }
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::BrokenPipe)
}

/// Returns the number of folders with findings.
fn print_findings(output: &mut impl Write) -> Result<usize, Box<dyn Error>> {
    let mut paths: Vec<String> = env::args().skip(1).collect();
    let is_count = paths.first().is_some_and(|first| first == "--count");
    paths.drain(..usize::from(is_count));
    if paths.is_empty() {
        paths.push(":/".to_owned());
    }
    let root = git(&["rev-parse", "--show-toplevel"], &[])?;
    let mut folders: BTreeMap<String, [usize; 5]> = BTreeMap::new();
    for path in git(&["ls-files", "--full-name", "--error-unmatch", "--"], &paths)?.lines() {
        let Ok(source) = fs::read_to_string(Path::new(root.trim_end()).join(path)) else {
            continue; // Not text, or deleted since the last commit.
        };
        let folder: Vec<&str> =
            path.rsplit_once('/').map_or("", |(folder, _)| folder).split('/').take(DEPTH).collect();
        for Finding { line, rule, excerpt, write } in findings(path, &source) {
            if !is_count {
                writeln!(output, "{path}:{line}: {rule:?}: {excerpt:.90} (write: {write})")?;
            }
            for name in [folder.join("/") + "/", "total".to_owned()] {
                folders.entry(name).or_default()[rule as usize] += 1;
            }
        }
    }
    for (name, counts) in &folders {
        if is_count || name == "total" {
            let counts = RULES.map(|rule| format!("{rule:?} {:<4}", counts[rule as usize]));
            writeln!(output, "{} {name}", counts.join(" "))?;
        }
    }
    Ok(folders.len())
}

/// Returns the findings of a file, by line.
fn findings(path: &str, source: &str) -> Vec<Finding> {
    let Some(prose) = read::read(path, source) else { return Vec::new() };
    let mut findings: Vec<Finding> = prose.paragraphs.iter().flat_map(rules::check).collect();
    let lines: Vec<&str> = source.lines().collect();
    let mut numbers = prose.comment_lines;
    numbers.dedup();
    let wide =
        numbers.into_iter().filter_map(|number| rules::check_width(number, lines.get(number - 1)?));
    findings.extend(wide);
    findings.sort_by_key(|finding| finding.line);
    findings
}

fn git(arguments: &[&str], paths: &[String]) -> Result<String, Box<dyn Error>> {
    let output =
        Command::new("git").args(arguments).args(paths).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("git failed".into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
