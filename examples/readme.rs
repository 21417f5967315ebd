//! The examples are programs: `cargo run --example cakes` and `cargo run --example hello`. Here the
//! code of the README is compiled.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
