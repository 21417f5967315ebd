//! Compiles the code blocks of the README. Run the example programs with
//! `cargo run --example cakes` and `cargo run --example hello`.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
