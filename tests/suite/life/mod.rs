//! The life of a key between its issue and its end.

mod audit;
mod import;
mod rotation;
mod update;
