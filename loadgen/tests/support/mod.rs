//! What the end-to-end tests share: the built program in a directory of its own, the processes it
//! starts, worlds of nodes, and what a result says. Nothing here is a test.
#![allow(dead_code, reason = "each test uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a failure here is the failure of the test, and it waits on the test's own clock"
)]

pub(crate) mod dir;
pub(crate) mod process;
pub(crate) mod world;
