//! The test node against a real server, its fault switches, and the harness for real servers.

#[path = "../support/server.rs"]
mod server;

mod compare;
mod faults;
mod harness;
mod wire;
