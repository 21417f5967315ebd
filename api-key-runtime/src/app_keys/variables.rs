//! The environment variables: reading them, and detecting mistyped names.

use std::{env, ffi::OsString};

use crate::{error::Error, log};

const PREFIX: &str = "APP_KEY_";
/// The variables with the prefix `APP_KEY_` that this crate reads.
pub(super) const NAMES: [&str; 8] = [
    "APP_KEY_PREFIX",
    "APP_KEY_PEPPER",
    "APP_KEY_PEPPER_FILE",
    "APP_KEY_PEPPER_PREVIOUS",
    "APP_KEY_PEPPER_PREVIOUS_FILE",
    "APP_KEY_ACCEPT_IMPORTED",
    "APP_KEY_TRUSTED_PROXIES",
    "APP_KEY_FORWARDED_HEADER",
];
/// The variable that only the command `app-key` reads.
const ACTOR: &str = "APP_KEY_ACTOR";
/// A name that differs from a known name by at most this many edits is treated as a typo.
const MAX_EDITS: usize = 2;

/// Reads variables by name.
#[derive(Clone, Copy)]
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    /// Returns the value of a variable. An empty variable counts as not set, because deployment
    /// tools write empty variables.
    pub(super) fn get(self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.text(name)?.filter(|value| !value.is_empty()))
    }

    /// Returns the value of a variable, or the content of the file that `<name>_FILE` names. An
    /// empty variable counts as set, so that a secret is not left out by mistake.
    pub(super) fn secret(self, name: &str) -> Result<Option<String>, Error> {
        let file = format!("{name}_FILE");
        match (self.text(name)?, self.text(&file)?) {
            (value, None) => Ok(value),
            (None, Some(path)) => content(&file, &path).map(Some),
            (Some(_), Some(_)) => {
                Err(Error::config(format!("both {name} and {file} are set; unset one of them")))
            }
        }
    }

    fn text(self, name: &str) -> Result<Option<String>, Error> {
        let Some(value) = (self.0)(name) else { return Ok(None) };
        let Ok(value) = value.into_string() else {
            return Err(Error::config(format!("{name} is not Unicode")));
        };
        let value = trimmed(value);
        let is_quoted =
            |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        if is_quoted('"') || is_quoted('\'') {
            return Err(Error::config(format!(
                "the value of {name} is in quotes; write it without them, because an env file keeps them as part of the value"
            )));
        }
        Ok(Some(value))
    }
}

/// Removes white space at both ends. Trims in place, because a copy of a secret would stay in
/// memory.
fn trimmed(mut text: String) -> String {
    text.truncate(text.trim_end().len());
    let start = text.len().saturating_sub(text.trim_start().len());
    text.drain(..start);
    text
}

fn content(variable: &str, path: &str) -> Result<String, Error> {
    // The path may be a pepper that someone set by mistake. A pepper must not be shown.
    let is_path = path.starts_with(['/', '.']) || std::path::Path::new(path).exists();
    let shown = if is_path {
        format!("{path:?}")
    } else {
        "a file whose name is not shown, because it may be a pepper".to_owned()
    };
    let content = std::fs::read_to_string(path).map(trimmed).map_err(|error| {
        Error::config(format!("cannot read {shown}, which {variable} names: {error}"))
    })?;
    if content.is_empty() {
        return Err(Error::config(format!(
            "{shown}, which {variable} names, is empty; write the pepper into it, or unset {variable}"
        )));
    }
    Ok(content)
}

/// Checks the names of all variables of this process. Without this check, a pepper under a mistyped
/// name would be ignored without a message.
pub(super) fn check_names() -> Result<(), Error> {
    let mut names: Vec<String> =
        env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    for name in names {
        if check_name(&name)? == Name::Unknown {
            log::warn!(
                "the environment variable {name:?} has no effect: no setting has this name; correct or unset it"
            );
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// This crate or the command reads the variable, or another program sets it.
    Fine,
    Unknown,
}

fn check_name(name: &str) -> Result<Name, Error> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(Name::Fine) };
    if NAMES.contains(&name) || name == ACTOR {
        return Ok(Name::Fine);
    }
    let nearest = NAMES.into_iter().chain([ACTOR]).min_by_key(|known| edits(name, known));
    if let Some(nearest) = nearest
        && (rest.contains("PEPPER") || edits(name, nearest) <= MAX_EDITS)
    {
        return Err(Error::config(format!(
            "the environment variable {name:?} is not a setting, but resembles {nearest}; correct or unset it"
        )));
    }
    Ok(if is_of_kubernetes(name) { Name::Fine } else { Name::Unknown })
}

/// Returns whether Kubernetes sets this variable for a Service named `app-key` or `app-key-..`.
fn is_of_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST") || name.ends_with("_PORT") || name.contains("_PORT_")
}

/// Returns the Levenshtein distance of two ASCII texts.
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in one.bytes().enumerate() {
        let mut left = index + 1;
        let mut next = vec![left];
        for (above, other_byte) in row.windows(2).zip(other.bytes()) {
            let &[diagonal, above] = above else { continue };
            left = (diagonal + usize::from(byte != other_byte)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";

    fn secret(variables: &[(&str, &str)]) -> Result<Option<String>, Error> {
        let get = |name: &str| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into())
        };
        Variables(&get).secret("APP_KEY_PEPPER")
    }

    /// Creates a file with this content. The caller deletes the file.
    fn file(name: &str, content: &[u8]) -> String {
        let path = env::temp_dir().join(format!("app-key-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_secret_is_the_trimmed_content_of_its_file() {
        let path = file("pepper", format!(" {PEPPER}\r\n").as_bytes());
        let spaced = format!("{path}\n");
        for path in [&path, &spaced] {
            assert_eq!(secret(&[("APP_KEY_PEPPER_FILE", path)]).unwrap().unwrap(), PEPPER);
        }
        let both = [("APP_KEY_PEPPER", ""), ("APP_KEY_PEPPER_FILE", path.as_str())];
        let message = secret(&both).unwrap_err().to_string();
        assert!(message.contains("both APP_KEY_PEPPER and APP_KEY_PEPPER_FILE"), "{message}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_holds_no_secret_is_an_error_that_names_it() {
        let [empty, binary] = [file("empty", b" \n"), file("binary", &[0xff; 40])];
        for path in [&empty, &binary, "", "/nonexistent/pepper", "/"] {
            let error = secret(&[("APP_KEY_PEPPER_FILE", path)]).unwrap_err();
            let message = error.to_string();
            assert!(error.is_config(), "{message}");
            assert!(message.contains("APP_KEY_PEPPER_FILE") && message.contains(path), "{message}");
        }
        std::fs::remove_file(empty).unwrap();
        std::fs::remove_file(binary).unwrap();
    }

    // G1
    #[test]
    fn a_pepper_in_place_of_a_path_is_not_shown() {
        let message = secret(&[("APP_KEY_PEPPER_FILE", PEPPER)]).unwrap_err().to_string();
        assert!(!message.contains(&PEPPER[..8]) && message.contains("not shown"), "{message}");
    }

    #[test]
    fn values_are_trimmed_and_never_in_quotes() {
        let text = |value: &str| Variables(&|_: &str| Some(value.into())).get("APP_KEY_PREFIX");
        for value in ["shop_", " shop_", "shop_\n", "\t shop_\r\n"] {
            assert_eq!(text(value).unwrap().unwrap(), "shop_");
        }
        assert_eq!(text(" \n").unwrap(), None);
        for value in ["\"shop_\"", "'shop_'", " 'shop_'\n"] {
            let message = text(value).unwrap_err().to_string();
            assert!(message.contains("APP_KEY_PREFIX is in quotes"), "{message}");
            assert!(!message.contains("shop_"), "{message}");
        }
    }

    #[test]
    fn a_name_two_edits_away_or_of_a_pepper_is_an_error() {
        for known in NAMES {
            assert_eq!(check_name(known).unwrap(), Name::Fine);
            for mistyped in [
                format!("{known}S"),
                known.replace("KEY_", "KEY__"),
                known[..known.len() - 2].to_owned(),
            ] {
                if !NAMES.contains(&mistyped.as_str()) {
                    let message = check_name(&mistyped).unwrap_err().to_string();
                    assert!(message.contains(known) && message.contains(&mistyped), "{message}");
                }
            }
        }
        for (mistyped, meant) in [
            ("APP_KEY_PEPER", "APP_KEY_PEPPER"),
            ("APP_KEY_PEPPER_PREV", "APP_KEY_PEPPER"),
            ("APP_KEY_OLD_PEPPER", "APP_KEY_PEPPER"),
            ("APP_KEY_PEPPER_PORT", "APP_KEY_PEPPER"),
            ("APP_KEY_TRUSTED_PROXYS", "APP_KEY_TRUSTED_PROXIES"),
        ] {
            let message =
                check_name(mistyped).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(message.contains(meant), "{mistyped}: {message}");
        }
    }

    #[test]
    fn other_names_are_unknown_unless_kubernetes_sets_them() {
        for fine in [
            "PATH",
            "DATABASE_URL",
            "APP_KEY",
            "APP_KEY_ACTOR",
            "API_KEY_PEPPER",
            "APP_KEY_SERVICE_HOST",
            "APP_KEY_SERVICE_PORT",
            "APP_KEY_SERVICE_PORT_HTTP",
            "APP_KEY_PORT",
            "APP_KEY_PORT_8080_TCP",
            "APP_KEY_PORT_8080_TCP_ADDR",
            "APP_KEY_ADMIN_SERVICE_HOST",
            "APP_KEY_ADMIN_SERVICE_PORT_HTTP",
            "APP_KEY_ADMIN_PORT",
            "APP_KEY_ADMIN_PORT_8080_TCP_PROTO",
        ] {
            assert_eq!(check_name(fine).unwrap(), Name::Fine, "{fine}");
        }
        for unknown in ["APP_KEY_", "APP_KEY_LISTEN_URL", "APP_KEY_PREFIX_FILE", "APP_KEY_é"] {
            assert_eq!(check_name(unknown).unwrap(), Name::Unknown, "{unknown}");
        }
    }

    #[test]
    fn edits_are_counted_as_levenshtein_does() {
        for (one, other, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edits(one, other), expected);
            assert_eq!(edits(other, one), expected);
        }
    }
}
