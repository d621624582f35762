//! The engine end to end: on real servers, and on test nodes where a fault needs one.
//!
//! Nothing here asserts how fast something is: counts and outcomes are asserted, and what takes
//! time is polled for with a generous deadline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests: a panic is a failure, and they spawn, print and read time as they please"
)]

mod allocator;
mod amnesia;
mod basic;
mod bounds;
mod cancel;
#[path = "../support/clock_shim.rs"]
mod clock_shim;
mod clocks;
mod concurrency;
mod crowd;
mod epochs;
mod failure;
mod faulty_peers;
mod fence;
mod fencing;
mod guards;
mod handoff;
#[path = "../support/hop.rs"]
mod hop;
mod leases;
mod modes;
mod order;
mod performance;
#[path = "../support/persistence.rs"]
mod persistence;
mod queue;
mod refusals;
mod rigs;
#[path = "../support/server.rs"]
mod server;
mod setup;
#[path = "../support/states.rs"]
mod states;
mod support;
mod timeout;
mod watched;
