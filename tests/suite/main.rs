//! What crosses crates, on both databases and over the wire. `tests/run` runs it; GUARANTEES.md lists what it shows.

mod support;

mod request;
