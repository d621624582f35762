//! Real Redis or Valkey servers for tests and benches: start, kill, restart, pause, ask.
//!
//! Not a client library: [`Server::command`] is a blocking call on a connection of its own, meant
//! for assertions. Included by path (`#[path = "support/server.rs"] mod server;`).
//!
//! Invariants:
//! 1. A server outlives neither its `Server` value nor, where `setpriv` exists, its process.
//! 2. A port belongs to one `Server` at a time (flock) and is outside the ephemeral range, so a
//!    killed node gets its own port back.
//! 3. A server counts as started only when its own pid answers on its port.
//! 4. A missing server fails the test; nothing is skipped.
#![allow(dead_code, unreachable_pub, reason = "each including target uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "test support: a failure here is the failure of the test"
)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

/// One running server process with a port, a unix socket and a directory of its own.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    dir: PathBuf,
    extra: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    child: Mutex<Option<Child>>,
    /// Holds the port's flock.
    _claim: File,
}

impl Server {
    /// Starts a server with an empty data set.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server whose configuration ends with the given lines.
    pub fn start_with(extra: &[&str]) -> Self {
        Self::start_in(extra, &[])
    }

    /// [`Server::start_with`] with more environment variables, kept over restarts.
    pub fn start_in(extra: &[&str], environment: &[(OsString, OsString)]) -> Self {
        let server = Self::launch(extra, environment).into_ready();
        server.open();
        server
    }

    /// Starts a server that no lock client has ever seen: its votes do not count for `max_ttl`.
    pub fn start_virgin(extra: &[&str]) -> Self {
        Self::launch(extra, &[]).into_ready()
    }

    /// Opens a new node at once, as its operator may: nobody holds a lock on it. A server that
    /// cannot be opened (a cluster node, say) stays as it is; its test will tell.
    pub fn open(&self) {
        let words = redlatch::testing::open_node_command(Duration::ZERO);
        let words: Vec<String> =
            words.into_iter().map(|word| String::from_utf8(word).expect("text")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = self.try_command(&words);
    }

    /// The process now running; panics while the server is killed.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().expect("the server is not running").id()
    }

    /// Whether it was started and not killed; a process that ended by itself counts as running.
    pub fn is_running(&self) -> bool {
        self.child.lock().unwrap().is_some()
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `redis://127.0.0.1:port`, without credentials.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `unix:///path/to/socket`.
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.unix_path().display())
    }

    pub fn unix_path(&self) -> PathBuf {
        self.dir.join("r.sock")
    }

    /// Where the server keeps its data; emptied when a server starts, not when one restarts.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SIGKILL: the process is gone and reaped when this returns. Killing a dead server is fine.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // Ends a stopped process as well; a failure means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the server if it runs and starts it on the same port, with the same configuration.
    /// Its directory stays, so a persistent data set comes back.
    pub fn restart(&self) {
        self.restart_with(&[]);
    }

    /// [`Server::restart`] with more lines of configuration, for this one process.
    pub fn restart_with(&self, more: &[&str]) {
        self.kill();
        for _ in 0..START_ATTEMPTS {
            *self.child.lock().unwrap() = Some(self.spawn(more));
            if self.wait_ready().is_ok() {
                return;
            }
            self.kill();
        }
        panic!("server does not come back on port {}:\n{}", self.port, self.log_tail());
    }

    /// SIGSTOP; returns when the kernel reports the process as stopped.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.pid());
        if !Path::new("/proc/self/stat").exists() {
            return;
        }
        poll_until("the server to stop", || {
            // `pid (name) state ...`; the name may hold spaces, so count from its end.
            let text = fs::read_to_string(&stat).unwrap_or_default();
            text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')).then_some(())
        });
    }

    /// SIGCONT after [`Server::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends one command on a connection of its own and waits for the reply (5 s at most).
    /// Panics if the server does not answer; an error reply is a value.
    pub fn command(&self, args: &[&str]) -> Reply {
        match self.try_command(args) {
            Ok(reply) => reply,
            Err(error) => panic!("{args:?} on port {}: {error}\n{}", self.port, self.log_tail()),
        }
    }

    /// [`Server::command`] that returns what went wrong.
    pub fn try_command(&self, args: &[&str]) -> io::Result<Reply> {
        let mut client = Client::connect(self.addr())?;
        let password = self.extra.iter().find_map(|line| line.strip_prefix("requirepass "));
        if let Some(password) = password {
            client.command(&["AUTH", password])?;
        }
        client.command(args)
    }

    /// How many keys there are in database 0, besides the engine's own.
    pub fn dbsize(&self) -> i64 {
        self.keys().len() as i64
    }

    /// All keys of database 0 besides the engine's own, sorted.
    pub fn keys(&self) -> Vec<String> {
        let Reply::Array(Some(items)) = self.command(&["KEYS", "*"]) else {
            panic!("KEYS answers an array")
        };
        let keys = items.into_iter().filter_map(Reply::text);
        let mut keys: Vec<String> = keys.filter(|key| !key.starts_with("redlatch:")).collect();
        keys.sort();
        keys
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.command(&["GET", key]).text()
    }

    /// Milliseconds left; -2 without the key, -1 without an expiry.
    pub fn pttl(&self, key: &str) -> i64 {
        self.command(&["PTTL", key]).int()
    }

    pub fn config_set(&self, name: &str, value: &str) {
        let reply = self.command(&["CONFIG", "SET", name, value]);
        assert_eq!(reply, Reply::Simple("OK".into()), "CONFIG SET {name} {value}");
    }

    pub fn flushall(&self) {
        assert_eq!(self.command(&["FLUSHALL"]), Reply::Simple("OK".into()));
    }

    /// One field of INFO, from whichever section has it (`commandstats` included).
    pub fn info(&self, field: &str) -> Option<String> {
        info_field(&self.command(&["INFO", "everything"]).text()?, field)
    }

    /// How often a command ran (`set`, `evalsha`, `config|get`), from `INFO commandstats`.
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.info(&format!("cmdstat_{command}")).unwrap_or_default();
        let calls = stats.split(',').find_map(|part| part.strip_prefix("calls="));
        calls.map_or(0, |count| count.parse().unwrap())
    }

    /// The last lines of the server's own log and console output.
    pub fn log_tail(&self) -> String {
        let read = |name| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        let text = read("console") + &read("log");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Claims a port and spawns the process, without waiting for it.
    fn launch(extra: &[&str], environment: &[(OsString, OsString)]) -> Self {
        let (port, claim) = claim_port();
        // The port's directory is the claim's too: what a killed process left there goes now.
        let dir = claims().join(port.to_string());
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("create {dir:?}: {error}"));
        let extra = extra.iter().map(|line| (*line).to_owned()).collect();
        let environment = environment.to_vec();
        let server = Self { port, dir, extra, environment, child: Mutex::new(None), _claim: claim };
        *server.child.lock().unwrap() = Some(server.spawn(&[]));
        server
    }

    /// Waits for a launched server; on an early exit (port taken by a stranger) tries other ports.
    fn into_ready(mut self) -> Self {
        let mut failures = String::new();
        for _ in 0..START_ATTEMPTS {
            match self.wait_ready() {
                Ok(()) => return self,
                Err(error) => failures += &format!("port {}: {error}\n", self.port),
            }
            let extra = self.extra.clone();
            let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
            self = Self::launch(&extra, &self.environment);
        }
        panic!("no server could be started:\n{failures}");
    }

    fn spawn(&self, more: &[&str]) -> Child {
        let console = File::create(self.dir.join("console")).unwrap();
        let mut command = guarded(server_binary());
        command
            .arg("-")
            .current_dir(&self.dir)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(console.try_clone().unwrap())
            .stderr(console);
        let mut child = spawn_from_lasting_thread(command)
            .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", server_binary()));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A server that exits at once breaks the pipe; `wait_ready` then reports its log.
        let _ = stdin.write_all(self.config(more).as_bytes());
        child
    }

    fn config(&self, more: &[&str]) -> String {
        let (port, dir) = (self.port, self.dir.display());
        let mut config = format!(
            "port {port}\nbind 127.0.0.1\nprotected-mode yes\n\
             unixsocket {dir}/r.sock\nunixsocketperm 700\n\
             save \"\"\nappendonly no\ndir {dir}\nlogfile {dir}/log\ndaemonize no\n\
             enable-debug-command local\nmaxmemory-policy noeviction\n"
        );
        for line in self.extra.iter().map(String::as_str).chain(more.iter().copied()) {
            config += line;
            config.push('\n');
        }
        config
    }

    /// Invariant 3: asks for the pid, because a stranger's server may own the port.
    fn wait_ready(&self) -> Result<(), String> {
        let pid = self.pid().to_string();
        let deadline = now() + READY_LIMIT;
        let mut pause = Duration::from_micros(500);
        loop {
            let answer = self.try_command(&["INFO", "server"]);
            if let Ok(Reply::Bulk(Some(text))) = &answer
                && info_field(&String::from_utf8_lossy(text), "process_id").as_ref() == Some(&pid)
            {
                return Ok(());
            }
            let exited = self.child.lock().unwrap().as_mut().and_then(|c| c.try_wait().ok()?);
            if let Some(status) = exited {
                return Err(format!("exited early, {status}\n{}", self.log_tail()));
            }
            if now() > deadline {
                let seconds = READY_LIMIT.as_secs();
                return Err(format!("not ready in {seconds} s: {answer:?}\n{}", self.log_tail()));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a pid is positive");
        kill_process(pid, signal).expect("the server's process exists until it is reaped");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// `n` independent servers, started side by side.
#[derive(Debug)]
pub struct Cluster(Vec<Server>);

impl Cluster {
    pub fn start(n: usize) -> Self {
        Self::start_with(n, &[])
    }

    pub fn start_with(n: usize, extra: &[&str]) -> Self {
        let cluster = Self::start_virgin(n, extra);
        cluster.iter().for_each(Server::open);
        cluster
    }

    /// Servers that no lock client has ever seen.
    pub fn start_virgin(n: usize, extra: &[&str]) -> Self {
        let launched: Vec<Server> = (0..n).map(|_| Server::launch(extra, &[])).collect();
        Self(launched.into_iter().map(Server::into_ready).collect())
    }

    pub fn urls(&self) -> Vec<String> {
        self.iter().map(Server::url).collect()
    }
}

impl Deref for Cluster {
    type Target = [Server];

    fn deref(&self) -> &[Server] {
        &self.0
    }
}

/// A blocking RESP2 connection for assertions.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Waits [`REPLY_LIMIT`] for a reply.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        let client = Self::connect_patient(addr)?;
        client.0.get_ref().set_read_timeout(Some(REPLY_LIMIT))?;
        Ok(client)
    }

    /// Waits for a reply as long as the server lives.
    pub fn connect_patient(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, REPLY_LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(REPLY_LIMIT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Waits so long for a reply from now on.
    pub fn limit(&self, limit: Duration) -> io::Result<()> {
        self.0.get_ref().set_read_timeout(Some(limit))
    }

    /// One command, one reply.
    pub fn command(&mut self, args: &[&str]) -> io::Result<Reply> {
        let mut frame = format!("*{}\r\n", args.len());
        for arg in args {
            frame += &format!("${}\r\n{arg}\r\n", arg.len());
        }
        self.send(frame.as_bytes())?;
        self.reply()
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Reads one RESP2 reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n").filter(|line| !line.is_empty()) else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed"));
        };
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_) => Reply::Bulk(None),
                Ok(len) => {
                    let mut bytes = vec![0; len + 2];
                    self.0.read_exact(&mut bytes)?;
                    bytes.truncate(len);
                    Reply::Bulk(Some(bytes))
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Reply::Array(None),
                Ok(len) => Reply::Array(Some(
                    (0..len).map(|_| self.reply()).collect::<io::Result<Vec<Reply>>>()?,
                )),
            },
            _ => return Err(io::Error::other(format!("not a RESP2 reply: {line:?}"))),
        })
    }
}

/// A RESP2 reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Option<Vec<u8>>),
    Array(Option<Vec<Self>>),
}

impl Reply {
    /// The integer; panics on any other reply.
    pub fn int(self) -> i64 {
        let Self::Int(value) = self else { panic!("not an integer reply: {self:?}") };
        value
    }

    /// The text of a string reply, `None` for nil; panics on any other reply.
    pub fn text(self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text),
            Self::Bulk(bytes) => Some(String::from_utf8(bytes?).expect("the value is text")),
            other => panic!("not a string reply: {other:?}"),
        }
    }
}

/// Asks `poll` every 2 ms until it answers `Some`; panics after 10 s.
pub fn poll_until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + Duration::from_secs(10);
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(now() < deadline, "waited 10 s for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[allow(clippy::disallowed_methods, reason = "test support has no engine to ask for the time")]
pub fn now() -> Instant {
    Instant::now()
}

fn info_field(text: &str, field: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find_map(|(name, value)| (name == field).then(|| value.to_owned()))
}

/// The server to run: `REDLATCH_TEST_SERVER`, else the first of the known names on PATH.
fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let named = std::env::var_os("REDLATCH_TEST_SERVER").filter(|name| !name.is_empty());
        let found = match &named {
            Some(name) => find_program(Path::new(name)),
            None => ["redis-server", "valkey-server"].iter().find_map(|n| find_program(n.as_ref())),
        };
        found.unwrap_or_else(|| {
            let wanted = named.unwrap_or_else(|| "redis-server or valkey-server".into());
            panic!(
                "no {} on this machine; these tests need a real server: \
                 apt-get install -y redis-server (or set REDLATCH_TEST_SERVER to its path)",
                wanted.display()
            )
        })
    })
}

/// A path with a slash as it is; a bare name from PATH.
fn find_program(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.is_file().then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// Invariant 1: the kernel kills the server when this process ends, however it ends.
fn guarded(program: &Path) -> Command {
    match find_program(Path::new("setpriv")) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Spawns on a thread that lives as long as the process: the death signal is sent when the
/// *thread* that spawned ends, and a test's thread may end before a server it shares does.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, answer) = mpsc::channel();
    spawner.lock().unwrap().send((command, sender)).expect("the spawner never ends");
    answer.recv().expect("the spawner never ends")
}

/// A port to listen on, and what keeps others from claiming it (invariant 2): hold it as long.
/// The start is spread by pid and count so that parallel processes seldom meet.
pub fn claim_port() -> (u16, File) {
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let dir = claims();
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("create {dir:?}: {error}"));
    let span = u32::from(PORT_LAST - PORT_FIRST) + 1;
    let start = std::process::id().wrapping_mul(0x9e37_79b1).wrapping_add(number * 7);
    for step in 0..span {
        let port = PORT_FIRST + u16::try_from((start.wrapping_add(step)) % span).unwrap();
        let path = dir.join(format!("{port}.lock"));
        let file = File::options().create(true).append(true).open(&path);
        let file = file.unwrap_or_else(|error| panic!("open {path:?}: {error}"));
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_free(port) {
            return (port, file);
        }
    }
    panic!("every port from {PORT_FIRST} to {PORT_LAST} is taken");
}

/// Holds a lock file for each port ever used, and a directory for each port in use.
fn claims() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("redlatch-ports-{uid}"))
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

static STARTED: AtomicU32 = AtomicU32::new(0);

/// Below Linux' ephemeral range (32768-60999): a client's outgoing connection cannot take the
/// port of a server that is down for a moment.
const PORT_FIRST: u16 = 20_000;
const PORT_LAST: u16 = 31_999;
const START_ATTEMPTS: u32 = 5;
const READY_LIMIT: Duration = Duration::from_secs(5);
const REPLY_LIMIT: Duration = Duration::from_secs(5);
const LOG_LINES: usize = 20;
