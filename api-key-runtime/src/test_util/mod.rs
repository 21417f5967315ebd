//! What tests need and services must not have: a clock that can be set, a store in memory, and the suite that every store must pass.

mod acceptance;
mod clock;
mod memory_store;

pub use acceptance::{Subject, acceptance_suite};
pub use clock::TestClock;
pub use memory_store::MemoryStore;
