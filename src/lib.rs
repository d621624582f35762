//! A distributed lock engine: Redlock over independent Redis or Valkey nodes.
#![forbid(unsafe_code)]

mod algorithm;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod time;
