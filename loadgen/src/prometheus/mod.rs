//! `--prometheus ADDR`: the values of a run so far, for a scraper. A minimal HTTP/1.1 server on a
//! thread of its own that knows one path.
//!
//! It answers with a page that the run makes anew after every interval, so that a scrape costs the
//! load nothing but the sending.
//!
//! Invariants:
//! 1. Bounded: one request at a time, [`MOST_REQUEST`] bytes of it at most, and [`LIMIT_NS`] for
//!    all of it; who is slower or says more is cut off.
//! 2. Nothing of the run waits for a scraper, and no failure of one is a failure of the run.

mod page;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{NS_PER_S, now_ns};

pub(crate) use page::Values;

/// A request with its headers.
const MOST_REQUEST: usize = 8 << 10;
/// For reading a request, and for sending its answer.
const LIMIT_NS: u64 = 2 * NS_PER_S;
const LIMIT: Duration = Duration::from_nanos(LIMIT_NS);
/// Between two looks for somebody who wants to connect, and for the end.
const PAUSE: Duration = Duration::from_millis(20);

/// `127.0.0.1:9464`, `[::1]:9464`, `:9464`: without a host, only this one is served.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let local = if text.starts_with(':') { "127.0.0.1" } else { "" };
    format!("{local}{text}").parse().map_err(|_| {
        format!(
            "`{text}` is no address to serve at; write HOST:PORT with a number as host, as in \
                 127.0.0.1:9464, or :9464"
        )
    })
}

/// The server; ends with this.
#[derive(Debug)]
pub(crate) struct Exporter {
    at: SocketAddr,
    page: Arc<Mutex<Arc<str>>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Exporter {
    /// Listens at `at`; port 0 takes a free one.
    pub(crate) fn start(at: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        let page = Arc::new(Mutex::new(Arc::from("")));
        let over = Arc::new(AtomicBool::new(false));
        let (theirs, ends) = (Arc::clone(&page), Arc::clone(&over));
        let thread =
            std::thread::Builder::new().name("prometheus".to_owned()).spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((peer, _)) => {
                            let page =
                                Arc::clone(&theirs.lock().unwrap_or_else(PoisonError::into_inner));
                            // Whoever broke off sees that; nobody else has to.
                            let _ = serve(peer, &page);
                        }
                        Err(_) => std::thread::sleep(PAUSE),
                    }
                }
            })?;
        Ok(Self { at, page, over, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) const fn at(&self) -> SocketAddr {
        self.at
    }

    /// What is answered from here on.
    pub(crate) fn set(&self, values: &Values<'_>) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = values.page().into();
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads one request and answers it.
fn serve(mut peer: TcpStream, page: &str) -> io::Result<()> {
    peer.set_nonblocking(false)?;
    peer.set_write_timeout(Some(LIMIT))?;
    let (status, kind, body) = match request(&mut peer)? {
        Request::Metrics => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", page),
        Request::OtherPath => ("404 Not Found", PLAIN, "ask for /metrics\n"),
        Request::OtherMethod => ("405 Method Not Allowed\r\nAllow: GET", PLAIN, "use GET\n"),
        Request::Nonsense => ("400 Bad Request", PLAIN, "this is no HTTP request\n"),
        Request::TooLarge => {
            ("431 Request Header Fields Too Large", PLAIN, "a request has 8 KiB at most\n")
        }
    };
    write!(
        peer,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{body}",
        body.len()
    )?;
    peer.flush()
}

const PLAIN: &str = "text/plain; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Metrics,
    OtherPath,
    OtherMethod,
    Nonsense,
    TooLarge,
}

fn request(peer: &mut TcpStream) -> io::Result<Request> {
    let deadline_ns = now_ns().saturating_add(LIMIT_NS);
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 1_024];
    // Read to the end of the headers, or closing would tell the peer of a broken connection.
    while !ends(&bytes) {
        let left = Duration::from_nanos(deadline_ns.saturating_sub(now_ns()));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        peer.set_read_timeout(Some(left))?;
        match peer.read(&mut chunk)? {
            0 => break,
            n => bytes.extend(chunk.get(..n).unwrap_or_default()),
        }
        if bytes.len() > MOST_REQUEST {
            return Ok(Request::TooLarge);
        }
    }
    Ok(parse(&bytes))
}

fn ends(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| four == b"\r\n\r\n") || bytes.windows(2).any(|two| two == b"\n\n")
}

fn parse(bytes: &[u8]) -> Request {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return Request::Nonsense };
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(path), Some(version), None) if version.starts_with("HTTP/1.") => {
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            match (method, path) {
                ("GET", "/metrics") => Request::Metrics,
                ("GET", _) => Request::OtherPath,
                _ => Request::OtherMethod,
            }
        }
        _ => Request::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_of_metrics_is_answered_with_them() {
        for (text, request) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Request::Metrics),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Request::Metrics),
            ("GET / HTTP/1.1\r\n\r\n", Request::OtherPath),
            ("POST /metrics HTTP/1.1\r\n\r\n", Request::OtherMethod),
            ("GET /metrics\r\n\r\n", Request::Nonsense),
            ("GET /metrics HTTP/2\r\n\r\n", Request::Nonsense),
            ("\u{fffd}\r\n\r\n", Request::Nonsense),
            ("", Request::Nonsense),
        ] {
            assert_eq!(parse(text.as_bytes()), request, "{text:?}");
        }
        assert_eq!(parse(&[0xFF, b' ', b'\n']), Request::Nonsense);
    }

    #[test]
    fn addresses_without_a_host_are_local() {
        assert_eq!(address(":9464").unwrap().to_string(), "127.0.0.1:9464");
        assert_eq!(address("[::1]:9464").unwrap().port(), 9_464);
        for bad in ["", "9464", "localhost:9464", ":0x50", "1.2.3.4:99999"] {
            assert!(address(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
    }

    fn ask(at: SocketAddr, request: &[u8]) -> String {
        let mut peer = TcpStream::connect(at).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = peer.write_all(request);
        let mut answer = Vec::new();
        let _ = peer.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn requests_are_bounded_and_the_next_one_is_answered_all_the_same() {
        let exporter = Exporter::start("127.0.0.1:0".parse().unwrap()).unwrap();
        *exporter.page.lock().unwrap() = Arc::from("x_total 1\n");
        let at = exporter.at();
        let silent = TcpStream::connect(at).unwrap();
        let begin = now_ns();
        let answer = ask(at, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nx_total 1\n")
        );
        assert!(answer.contains("Content-Length: 10\r\n"), "{answer}");
        assert!(now_ns() - begin >= LIMIT_NS / 2, "the silent one had its time");
        drop(silent);
        let long = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 9_000]].concat();
        let answer = ask(at, &long);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(ask(at, b"PUT / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(ask(at, b"GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        drop(exporter);
        assert!(TcpStream::connect(at).is_err(), "nobody listens after the run");
    }
}
