//! Questions on the controlling terminal, which work even if standard input is not a terminal.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
};

/// The character that a terminal sends for Ctrl-C.
const INTERRUPT: char = '\u{3}';

/// The controlling terminal of this process.
pub(crate) struct Terminal(File);

impl Terminal {
    #[cfg(unix)]
    pub(crate) fn open() -> io::Result<Self> {
        File::options().read(true).write(true).open("/dev/tty").map(Self)
    }

    #[cfg(not(unix))]
    pub(crate) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asks a question and returns the answer.
    pub(crate) fn ask(&self, question: &str) -> io::Result<String> {
        (&self.0).write_all(question.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&self.0).read_line(&mut answer)?;
        Ok(answer)
    }

    /// Asks a question and returns the answer, which the terminal does not show.
    pub(crate) fn ask_hidden(&self, question: &str) -> io::Result<String> {
        #[cfg(unix)]
        let _hidden = Hidden::start(&self.0)?;
        (&self.0).write_all(question.as_bytes())?;
        // Each read of a terminal returns at most one line, and kernels limit lines to 4096 bytes.
        let mut line = [0; 4096];
        let length = (&self.0).read(&mut line)?;
        let answer = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
        if answer.contains(INTERRUPT) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(answer.into_owned())
    }
}

/// A guard that turns the terminal's echo off, and restores the settings on drop.
#[cfg(unix)]
struct Hidden<'a> {
    terminal: &'a File,
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl<'a> Hidden<'a> {
    fn start(terminal: &'a File) -> io::Result<Self> {
        use rustix::termios::{
            LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr,
        };
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        // Ctrl-C ends the input line instead of this program. Otherwise the echo would stay off
        // after the program has ended.
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT as u8;
        // Only the line break is echoed, so that the next output starts on a new line.
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

#[cfg(unix)]
impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
