//! Results, one per line as `name value unit` on standard output. Explanations begin with `#`;
//! progress goes to standard error.

use std::{
    env, fs,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Prints the name of the benchmark and a description of the machine.
pub(crate) fn heading() {
    let name = env::current_exe().unwrap();
    let name = name.file_stem().and_then(|name| name.to_str()).unwrap();
    // Cargo appends a hash to the name of the program.
    let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
    let cores = thread::available_parallelism().unwrap();
    let kernel = read("/proc/sys/kernel/osrelease");
    println!(
        "# {name}: {cores} cores of {}, {} {}, load average {} before it began",
        processor(),
        env::consts::OS,
        kernel.trim(),
        load_average()
    );
}

/// Returns the load average, which includes other programs on the machine.
pub(crate) fn load_average() -> String {
    let text = read("/proc/loadavg");
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| env::consts::ARCH.to_owned())
}

/// Returns the text of a file, or an empty text if the system does not have this file.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Prints one result.
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    let decimals = match value.abs() {
        value if value < 10.0 => 3,
        value if value < 100.0 => 1,
        _ => 0,
    };
    println!("{name} {value:.decimals$} {unit}");
}

/// Measures two sides in turn and prints the median ratio over all rounds. The side that goes first
/// alternates. Returns the median of each side.
///
/// Other programs on the machine may slow down some rounds, but usually both sides of a round
/// alike.
pub(crate) fn ratio(
    name: &str,
    rounds: usize,
    mut measure: impl FnMut(Side, usize) -> f64,
) -> [f64; 2] {
    let mut progress = Progress::new(name, rounds);
    let mut ratios = Vec::with_capacity(rounds);
    let mut sides = [Vec::with_capacity(rounds), Vec::with_capacity(rounds)];
    for round in 0..rounds {
        let (one, other) = if round % 2 == 0 {
            let one = measure(Side::One, round);
            (one, measure(Side::Other, round))
        } else {
            let other = measure(Side::Other, round);
            (measure(Side::One, round), other)
        };
        ratios.push(one / other);
        for (side, value) in sides.iter_mut().zip([one, other]) {
            side.push(value);
        }
        progress.step();
    }
    drop(progress);
    ratios.sort_by(f64::total_cmp);
    figure(name, quantile(&ratios, 0.5), "x");
    println!(
        "#   {rounds} rounds, the middle half of them {:.3} to {:.3}",
        quantile(&ratios, 0.25),
        quantile(&ratios, 0.75)
    );
    sides.map(|mut side| {
        side.sort_by(f64::total_cmp);
        quantile(&side, 0.5)
    })
}

/// Prints the ratio of two sides that are measured in nanoseconds, and the median of each side.
pub(crate) fn ratio_of_ns(
    name: &str,
    rounds: usize,
    measure: impl FnMut(Side, usize) -> f64,
) -> [f64; 2] {
    let [one, other] = ratio(name, rounds, measure);
    println!("#   {one:.0} ns over {other:.0} ns");
    [one, other]
}

/// One of the two sides of a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    One,
    Other,
}

/// Returns the value below which this share of the sorted values lies.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len() - 1;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the list"
    )]
    let index = (last as f64 * part).round() as usize;
    sorted[index.min(last)]
}

/// Progress of a long run, on standard error.
pub(crate) struct Progress {
    what: String,
    done: usize,
    of: usize,
    shown: Instant,
}

impl Progress {
    pub(crate) fn new(what: &str, of: usize) -> Self {
        let progress = Self { what: what.to_owned(), done: 0, of, shown: Instant::now() };
        progress.show();
        progress
    }

    pub(crate) fn step(&mut self) {
        self.advance(1);
    }

    pub(crate) fn advance(&mut self, by: usize) {
        self.done += by;
        let seldom = if io::stderr().is_terminal() { 250 } else { 10_000 };
        if self.shown.elapsed() > Duration::from_millis(seldom) {
            self.shown = Instant::now();
            self.show();
        }
    }

    fn show(&self) {
        let line = format!("{}: {} of {}", self.what, self.done, self.of);
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K{line}");
            let _ = io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}

impl Drop for Progress {
    /// Clears the progress line, so that the result can replace it.
    fn drop(&mut self) {
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}
