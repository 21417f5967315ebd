//! Wrong wall clocks for servers. A wrong clock must have no effect where keys expire by the
//! database's clock.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The wall clock of one server's processes, which may be ahead of the machine's clock or behind
/// it.
pub(super) struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// Creates a clock that is ahead by this many seconds. Returns `None` on systems other than
    /// Linux, where this module cannot replace a program's clock.
    pub(super) fn new(folder: &Path, name: &str, ahead: i64) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let clock = Self { library: library(folder), file: folder.join(format!("clock-{name}")) };
        clock.set(ahead);
        Some(clock)
    }

    /// Sets the clock's offset to this many seconds, even for processes that already run. A
    /// negative offset sets the clock behind.
    pub(super) fn set(&self, ahead: i64) {
        let file = File::options().create(true).write(true).truncate(false).open(&self.file);
        file.unwrap().write_all_at(&(ahead * 1_000_000_000).to_ne_bytes(), 0).unwrap();
    }

    /// Makes a program use this clock. Must be called before the program starts.
    pub(super) fn give_to(&self, program: &mut Command) {
        program.env("LD_PRELOAD", &self.library).env("TEST_CLOCK_FILE", &self.file);
    }
}

/// Builds the library that replaces the system's clock, unless it exists, and returns its path.
fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    if !library.exists() {
        fs::write(&source, include_str!("clock.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]);
        assert!(compiler.status().unwrap().success(), "cc does not build clock.c");
    }
    library
}

#[cfg(target_os = "linux")]
#[test]
fn a_wall_clock_is_wrong_by_as_much_as_it_was_set() {
    let folder = crate::support::own_folder();
    let clock = WallClock::new(&folder, "test", -3600).unwrap();
    let seconds = || {
        let mut date = Command::new("date");
        clock.give_to(date.arg("+%s"));
        String::from_utf8(date.output().unwrap().stdout).unwrap().trim().parse::<i64>().unwrap()
    };
    for ahead in [-3600, 0, 7200] {
        clock.set(ahead);
        let wrong = seconds() - chrono::Utc::now().timestamp();
        assert!((ahead - 10..=ahead).contains(&wrong), "{wrong} s instead of {ahead} s");
    }
    fs::remove_dir_all(folder).unwrap();
}
