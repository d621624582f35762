//! The library's test node as a process of its own: what local nodes run where no server is
//! installed.

/// Serves one test node on 127.0.0.1:`port`; returns only with the reason why it cannot.
pub(crate) fn serve(port: u16) -> String {
    // The library's `testing` module is to be called here.
    format!("the test node for port {port} is not part of this build; install redis-server")
}
