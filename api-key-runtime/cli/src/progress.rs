//! A progress bar on standard error, if standard error is a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// Minimum time between two updates of the bar.
const INTERVAL: Duration = Duration::from_millis(100);
const BAR_WIDTH: usize = 30;

/// A progress bar on one line, which is redrawn in place. Call [`clear`](Self::clear) before every
/// other message.
pub(crate) struct Progress {
    is_terminal: bool,
    drawn: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), drawn: None }
    }

    /// Shows the number of rows. If the total `of` is known, also shows a bar with the percentage.
    pub(crate) fn rows(&mut self, rows: u64, done: u64, of: Option<u64>) {
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL) {
            self.draw(&format!("{}{rows} rows", bar(done, of)));
        }
    }

    /// Shows a step whose progress is not measured.
    pub(crate) fn step(&mut self, step: &str) {
        self.draw(step);
    }

    /// Removes the bar.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = io::stderr().write_all(b"\r\x1B[K");
        }
    }

    fn draw(&mut self, text: &str) {
        if self.is_terminal {
            // An import must not fail because its progress cannot be shown.
            let _ = io::stderr().write_all(format!("\r\x1B[K{text}").as_bytes());
            self.drawn = Some(Instant::now());
        }
    }
}

fn bar(done: u64, of: Option<u64>) -> String {
    let Some(of) = of.filter(|of| *of > 0) else { return String::new() };
    let percent = usize::try_from(done.min(of).saturating_mul(100) / of).unwrap_or(100);
    let full = percent * BAR_WIDTH / 100;
    format!("[{}{}] {percent:>3} %, ", "#".repeat(full), "-".repeat(BAR_WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    // I3
    #[test]
    fn a_bar_shows_the_done_part() {
        assert_eq!(bar(0, None), "");
        assert_eq!(bar(0, Some(0)), "");
        assert_eq!(bar(1, Some(2)), format!("[{}{}]  50 %, ", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(9, Some(3)), format!("[{}] 100 %, ", "#".repeat(30)));
    }
}
