//! The spans and events of this process, with their fields as a subscriber would print them. Every
//! span and event is searched for secrets.

use std::{
    fmt::{Debug, Write as _},
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::support::leaks;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static INSTALLED: Once = Once::new();
static NEXT: AtomicU64 = AtomicU64::new(1);

struct Recorder;

/// A line of the form `name: field=value field=value`.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Line {
    fn keep(self) {
        leaks::search("a span", self.0.as_bytes());
        LINES.lock().unwrap().push(self.0);
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("{}:", span.metadata().name()));
        span.record(&mut line);
        line.keep();
        Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("recorded:".to_owned());
        values.record(&mut line);
        line.keep();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line("event:".to_owned());
        event.record(&mut line);
        line.keep();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Records all spans and events from now on.
pub(super) fn install() {
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(Recorder).unwrap());
}

/// Returns the spans with this name so far.
pub(super) fn named(name: &str) -> Vec<String> {
    let start = format!("{name}:");
    LINES.lock().unwrap().iter().filter(|line| line.starts_with(&start)).cloned().collect()
}
