//! The library's test node as a process of its own: what local nodes run where no server is
//! installed.

use redlatch::testing::{Options, serve as serve_node};
use tokio::net::TcpListener;

/// Serves one test node on 127.0.0.1:`port`; returns only with the reason why it cannot.
pub(crate) fn serve(port: u16) -> String {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return format!("no runtime for the test node: {error}"),
    };
    runtime.block_on(async {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => match serve_node(listener, Options::new()).await {},
            Err(error) => format!("the test node cannot listen on port {port}: {error}"),
        }
    })
}
