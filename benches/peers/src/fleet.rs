//! The local servers of a run: in memory only, on loopback, ports 20000 to 31999.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, process, thread};

use crate::Result;
use crate::children::{self, Owned};
use crate::wire::{Wire, info_field};

const PORTS: std::ops::Range<u16> = 20_000..32_000;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) port: u16,
    server: Owned,
}

impl Node {
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }
}

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    /// Such as `redis 7.0.15`.
    pub(crate) version: String,
}

impl Fleet {
    pub(crate) fn start(program: &str, count: usize) -> Result<Self> {
        if !children::works(program, &["--version"]) {
            return Err(format!("`{program} --version` does not run: name a server").into());
        }
        // Runs that start together begin their search at different ports.
        let span = usize::from(PORTS.end - PORTS.start);
        let first = (process::id() as usize).wrapping_mul(2_654_435_761) % span;
        let mut candidates = (0..span)
            .map(|step| PORTS.start + ((first + step) % span) as u16)
            .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let mut nodes = Vec::with_capacity(count);
        let mut version = String::new();
        let mut failures = 0;
        while nodes.len() < count {
            let port = candidates.next().ok_or("no free port between 20000 and 31999")?;
            match start_node(program, port) {
                Ok((node, name)) => {
                    version = name;
                    nodes.push(node);
                }
                // Somebody may have taken the port since it was tried; the next one is free.
                Err(_) if failures < 3 => failures += 1,
                Err(error) => return Err(format!("could not start `{program}`: {error}").into()),
            }
        }
        Ok(Self { nodes, version })
    }
}

/// `redis-server`, or `valkey-server` where only that is installed.
pub(crate) fn default_server() -> &'static str {
    let redis_is_missing = !children::works("redis-server", &["--version"]);
    if redis_is_missing && children::works("valkey-server", &["--version"]) {
        "valkey-server"
    } else {
        "redis-server"
    }
}

fn start_node(program: &str, port: u16) -> Result<(Node, String)> {
    let name = format!("peers-{}-{port}", process::id());
    let directory = children::directory(env::temp_dir().join(name))?;
    let port_text = port.to_string();
    let directory_text = directory.display().to_string();
    let args = [
        ["--port", &port_text],
        ["--bind", "127.0.0.1"],
        ["--save", ""],
        ["--appendonly", "no"],
        ["--dir", &directory_text],
    ];
    let args: Vec<String> = args.into_iter().flatten().map(str::to_owned).collect();
    let server = children::spawn(&PathBuf::from(program), &args)?;
    let node = Node { port, server };
    let version = wait_until_up(&node)?;
    Ok((node, version))
}

/// Waits for the server's first answer and makes sure that it is *this* process that answers.
fn wait_until_up(node: &Node) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let info = loop {
        match Wire::connect(node.port).and_then(|mut wire| wire.text(&["INFO", "server"])) {
            Ok(info) => break info,
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    };
    let pid = node.pid().to_string();
    if info_field(&info, "process_id") != Some(pid.as_str()) {
        return Err(format!("port {} is answered by another process", node.port).into());
    }
    let version = |name| info_field(&info, name);
    Ok(match (version("valkey_version"), version("redis_version")) {
        (Some(valkey), _) => format!("valkey {valkey}"),
        (None, redis) => format!("redis {}", redis.unwrap_or("of unknown version")),
    })
}
