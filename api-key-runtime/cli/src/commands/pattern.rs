//! `app-key pattern`.

use std::io::{self, Write as _};

use api_key_runtime::AppKeys;
use clap::Args;

use crate::{failure::Failure, values::one_of};

pub(crate) const PATTERN_AFTER_HELP: &str = "\
The expression matches native keys with the prefix APP_KEY_PREFIX. No database is needed. An expression cannot check \
the checksum of a key; `app-key scan` checks it, and finds native keys with any prefix.

Examples:
  grep -rnE \"$(app-key pattern)\" .
  app-key pattern --format gitleaks > .gitleaks.toml
  app-key pattern --format github";

#[derive(Debug, Args)]
pub(crate) struct Pattern {
    /// Regular expression, configuration of gitleaks, or fields of a custom pattern on GitHub
    #[arg(long, default_value = "plain", value_parser = one_of(&FORMATS))]
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Plain,
    Gitleaks,
    Github,
}

const FORMATS: [(&str, Format); 3] =
    [("plain", Format::Plain), ("gitleaks", Format::Gitleaks), ("github", Format::Github)];

pub(crate) fn print(asked: &Pattern) -> Result<(), Failure> {
    let pattern = AppKeys::builder().env()?.key_pattern()?;
    Ok(io::stdout().write_all(formatted(&pattern, asked.format).as_bytes())?)
}

fn formatted(pattern: &str, format: Format) -> String {
    match format {
        Format::Plain => format!("\\b{pattern}\\b\n"),
        // https://github.com/gitleaks/gitleaks#configuration. gitleaks applies the expression
        // only to text that contains a keyword.
        Format::Gitleaks => {
            let prefix = pattern.split('[').next().unwrap_or(pattern);
            format!(
                "[extend]\n\
                 useDefault = true\n\
                 \n\
                 [[rules]]\n\
                 id = \"app-key\"\n\
                 description = \"API key ({prefix}), see `app-key scan`\"\n\
                 regex = '''\\b{pattern}\\b'''\n\
                 keywords = [\"{prefix}\"]\n"
            )
        }
        // https://docs.github.com/en/code-security/reference/secret-security/custom-patterns
        Format::Github => format!(
            "Secret format: {pattern}\n\
             Before secret: \\A|[^0-9A-Za-z]\n\
             After secret:  \\z|[^0-9A-Za-z]\n"
        ),
    }
}
