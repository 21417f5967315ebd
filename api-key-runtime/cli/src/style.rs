//! Colours of the output. [`anstream`] removes them if standard output is not a terminal or
//! `NO_COLOR` is set.

use api_key_runtime::admin::KeyState;
use clap::builder::styling::{AnsiColor, Style};

fn painted(text: &str, colour: AnsiColor) -> String {
    let style: Style = colour.on_default();
    format!("{style}{text}{style:#}")
}

/// Returns a text in green, for a positive result.
pub(crate) fn good(text: &str) -> String {
    painted(text, AnsiColor::Green)
}

/// Returns a text in red, for a result that needs attention.
pub(crate) fn bad(text: &str) -> String {
    painted(text, AnsiColor::Red)
}

/// Returns the name of a state, in colour if keys in this state are rejected.
pub(crate) fn state(state: KeyState) -> String {
    match state {
        KeyState::Expired | KeyState::Disabled => painted(state.as_str(), AnsiColor::Yellow),
        KeyState::Revoked => bad(state.as_str()),
        _ => state.as_str().to_owned(),
    }
}
