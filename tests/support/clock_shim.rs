//! A wall clock for one or more servers that a test steps and slews while they run.
//!
//! Needs `server` as a sibling module. The library that is preloaded into the servers is compiled
//! from `tests/clockshim/shim.rs` by rustc, on the first use, without cargo and without a network.
//!
//! Invariants:
//! 1. The library is built once for each version of its source, whoever asks first; others wait.
//! 2. A server sees a setting whole, from its next look at the clock on.
//! 3. A shim outlives the restarts of its servers, so keep it as long as them.
#![allow(dead_code, unreachable_pub, reason = "each including target uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support: a failure here is the failure of the test, and it is about time"
)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::server::Server;

/// A wall clock: the machine's until [`ClockShim::set`] says otherwise.
#[derive(Debug)]
pub struct ClockShim {
    path: PathBuf,
    control: File,
    setting: Mutex<Setting>,
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    count: i64,
    anchor_ns: i64,
    offset_ns: i64,
    rate_ppm: i64,
}

impl ClockShim {
    pub fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = out_dir().join(format!("clock-{}-{number}", std::process::id()));
        let control = File::create(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        control.write_all_at(&[0; 64], 0).unwrap();
        let setting = Setting { count: 0, anchor_ns: 0, offset_ns: 0, rate_ppm: 0 };
        Self { path, control, setting: Mutex::new(setting) }
    }

    /// Starts a server that lives by this clock, restarts included.
    pub fn start(&self, extra: &[&str]) -> Server {
        let environment = [
            (OsString::from("LD_PRELOAD"), library().as_os_str().to_owned()),
            (OsString::from("REDLATCH_CLOCK"), self.path.as_os_str().to_owned()),
        ];
        Server::start_in(extra, &environment)
    }

    /// From now on the clock is the machine's plus `offset_us`, and gains `rate_ppm` microseconds
    /// a second on it (83_333 is +8.33 %; negative loses). What an earlier rate gained is gone:
    /// `set(shim.offset_us(), 0)` ends a slew without a step.
    pub fn set(&self, offset_us: i64, rate_ppm: i64) {
        let mut setting = self.setting.lock().unwrap();
        let count = setting.count + 1;
        *setting = Setting { count, anchor_ns: now_ns(), offset_ns: offset_us * 1_000, rate_ppm };
        let words = [setting.anchor_ns, setting.offset_ns, setting.rate_ppm];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // The half that no reader looks at, then the count that makes them look at it.
        let at = if count & 1 == 0 { 8 } else { 32 };
        self.control.write_all_at(&bytes, at).unwrap();
        self.control.write_all_at(&count.to_ne_bytes(), 0).unwrap();
    }

    /// Steps the clock by so much and leaves its rate as it is.
    pub fn step(&self, by_us: i64) {
        let rate_ppm = self.setting.lock().unwrap().rate_ppm;
        self.set(self.offset_us() + by_us, rate_ppm);
    }

    /// How far ahead of the machine's clock this one is at the moment.
    pub fn offset_us(&self) -> i64 {
        let setting = *self.setting.lock().unwrap();
        let since = i128::from(now_ns() - setting.anchor_ns);
        let gained = since * i128::from(setting.rate_ppm) / 1_000_000;
        (setting.offset_ns + i64::try_from(gained).unwrap()) / 1_000
    }
}

impl Drop for ClockShim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The server's wall clock, from `TIME`.
pub fn server_time(server: &Server) -> Duration {
    let super::server::Reply::Array(Some(parts)) = server.command(&["TIME"]) else {
        panic!("TIME answers an array")
    };
    let parts: Vec<u64> =
        parts.into_iter().map(|part| part.text().unwrap().parse().unwrap()).collect();
    let [seconds, micros] = parts.as_slice() else { panic!("TIME answers two numbers: {parts:?}") };
    Duration::from_secs(*seconds) + Duration::from_micros(*micros)
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(now.as_nanos()).unwrap()
}

/// Invariant 1.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clockshim/shim.rs");
        let text = fs::read(&source).unwrap_or_else(|error| panic!("read {source:?}: {error}"));
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let library = out_dir().join(format!("libclockshim-{:016x}.so", hasher.finish()));
        let lock = File::options().create(true).append(true).open(out_dir().join("clockshim.lock"));
        let lock = lock.unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        if !library.exists() {
            build(&source, &library);
        }
        library
    })
}

fn build(source: &Path, library: &Path) {
    // Renamed when it is whole: a process that dies here leaves nothing that looks finished.
    let partial = library.with_extension("partial");
    let output = Command::new(rustc())
        .args(["--crate-type", "cdylib", "--crate-name", "clockshim", "--edition", "2024"])
        .args(["-C", "opt-level=2", "-C", "panic=abort", "-D", "warnings", "-o"])
        .arg(&partial)
        .arg(source)
        .output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {:?}: {error}", rustc()));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the clock shim does not compile:\n{complaint}");
    fs::rename(&partial, library).unwrap();
}

/// The compiler beside the cargo that runs this test, else the one on PATH.
fn rustc() -> PathBuf {
    let beside = |cargo: OsString| Some(PathBuf::from(cargo).with_file_name("rustc"));
    let beside = std::env::var_os("CARGO").and_then(beside).filter(|path| path.is_file());
    std::env::var_os("RUSTC").map(PathBuf::from).or(beside).unwrap_or_else(|| "rustc".into())
}

/// Of this build; cargo makes it before it compiles a test.
fn out_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

static MADE: AtomicU32 = AtomicU32::new(0);
