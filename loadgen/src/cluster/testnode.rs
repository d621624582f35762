//! The library's test node as a process of its own: what local nodes run where no server is
//! installed.
//!
//! It listens on 127.0.0.1 alone, keeps nothing on disk, and ends with its process: whoever kills,
//! stops or outlives it does so as with a real server. Its process starts without an epoch, because
//! it may be one that was started again: whoever starts it for the first time opens it.

use std::convert::Infallible;

use redlatch::testing::{self, Options};
use tokio::net::TcpListener;

/// Serves one test node on 127.0.0.1:`port`; returns only with the reason why it cannot.
pub(crate) fn serve(port: u16) -> String {
    match start(port) {
        Ok(never) => match never {},
        Err(error) => format!("the test node cannot listen on port {port}: {error}"),
    }
}

fn start(port: u16) -> std::io::Result<Infallible> {
    // One thread, as a real server has.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(testing::serve(listener, Options::new()).await)
    })
}
