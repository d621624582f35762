//! The test node against a real server, its fault switches, and the harness for real servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is the failure of the test"
)]
#![allow(unreachable_pub, reason = "modules of one binary")]

#[path = "../support/server.rs"]
mod server;

mod compare;
mod faults;
mod harness;
mod wire;
