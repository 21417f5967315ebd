//! Compiles the code of the README. The examples are programs: `cargo run --example cakes` and
//! `cargo run --example hello`.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
