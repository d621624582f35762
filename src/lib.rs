//! A distributed lock engine: Redlock over independent Redis or Valkey nodes.
#![forbid(unsafe_code)]

mod algorithm;
mod credentials;
mod endpoint;
pub mod manual;
mod time;

pub use endpoint::{Endpoint, EndpointError};
