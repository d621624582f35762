//! A distributed lock engine: Redlock over independent Redis or Valkey nodes.
#![forbid(unsafe_code)]

mod algorithm;
mod resp;
mod session;
mod time;
