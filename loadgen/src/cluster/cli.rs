//! `loadgen nodes ...` and the two hidden commands, `__guard` and `__node`.
//!
//! `main` hands a parsed [`Command`] to [`run`] and exits with what it returns. Standard output
//! gets what a script reads; words for people go to standard error.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::task::Poll;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::attached::{Attached, state_of};
use super::init::{self, InitArgs};
use super::node::Launcher;
use super::registry::{Owner, Registry};
use super::{Cluster, ClusterError, ClusterOptions, NodeState, Persist, Transport};
use super::{epoch, node, node_name};
use crate::clock::now_ns;
use crate::guard::{self, Guardian};

/// The commands of this module; `main` flattens them into its own.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start, list, break and end local nodes; open a new fleet
    Nodes {
        #[command(subcommand)]
        action: Action,
    },
    #[command(name = "__guard", hide = true)]
    Guard,
    #[command(name = "__node", hide = true)]
    Node(NodeArgs),
}

/// What to do with local nodes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// Start a cluster; without --keep it ends with Ctrl-C
    Up(UpArgs),
    /// Open a new fleet that nobody holds a lock on, so that its first client need not wait
    Init(InitArgs),
    /// End a kept cluster
    Down {
        /// Which one, if several are up
        #[arg(long, value_name = "ID")]
        cluster: Option<String>,
        /// Every kept cluster, and whatever runs left behind
        #[arg(long, conflicts_with = "cluster")]
        all: bool,
    },
    /// List the clusters of this machine, and which of their nodes vote
    Ps,
    /// SIGKILL a node
    Kill(NodeChoice),
    /// SIGSTOP a node: it accepts connections and answers nothing
    Pause(NodeChoice),
    /// SIGCONT a paused node
    Resume(NodeChoice),
    /// Start a node again on its own port and directory
    Restart(NodeChoice),
}

#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// How many, 1 to 9
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: usize,
    /// Leave the nodes running until 'loadgen nodes down'
    #[arg(long)]
    keep: bool,
    /// valkey-server or redis-server to run, or 'test-node'
    #[arg(long, value_name = "PATH")]
    server_bin: Option<PathBuf>,
    /// How the nodes are reached
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    transport: Transport,
    /// What the nodes keep on disk
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    persist: Persist,
    /// For tests of the protection against orphans: leaves layers out
    #[arg(long, hide = true, value_enum)]
    without: Vec<Layer>,
}

/// A layer of the protection against orphans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Layer {
    Kernel,
    Guard,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeChoice {
    /// 1 or n1 for the first
    #[arg(value_name = "NODE", value_parser = parse_node)]
    node: usize,
    /// Which cluster, if several are up
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// End when this process ends
    #[arg(long)]
    parent: Option<u32>,
    /// Be a test node on this port
    #[arg(long)]
    port: Option<u16>,
    /// Become this server
    #[arg(long)]
    exec: Option<PathBuf>,
}

/// `3` or `n3`, counted from 1, as an index from 0.
pub(crate) fn parse_node(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix('n').unwrap_or(text).parse::<usize>().ok();
    number
        .and_then(|number| number.checked_sub(1))
        .ok_or_else(|| format!("'{text}' is no node; write 1 or n1 for the first"))
}

/// Does what `command` says; its exit code.
pub(crate) fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Guard => return guard::run(),
        Command::Node(args) => {
            let reason = node::run(args.parent, args.port, args.exec.as_deref());
            say(format_args!("{reason}"));
            return ExitCode::FAILURE;
        }
        Command::Nodes { action: Action::Init(args) } => return init::run(&args),
        Command::Nodes { action } => act(action),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<(), ClusterError> {
    if let Action::Up(args) = action {
        return up(&args);
    }
    let registry = Registry::open()?;
    let find = |cluster: Option<&str>| Attached::find(&registry, cluster);
    match action {
        Action::Up(_) | Action::Init(_) => Ok(()),
        Action::Down { cluster, all: false } => find(cluster.as_deref())?.down(),
        Action::Down { all: true, .. } => down_all(&registry),
        Action::Ps => ps(&registry),
        Action::Kill(choice) => find(choice.cluster.as_deref())?.kill(choice.node),
        Action::Pause(choice) => find(choice.cluster.as_deref())?.pause(choice.node),
        Action::Resume(choice) => find(choice.cluster.as_deref())?.resume(choice.node),
        Action::Restart(choice) => find(choice.cluster.as_deref())?.restart(choice.node),
    }
}

fn up(args: &UpArgs) -> Result<(), ClusterError> {
    let interrupted = interrupts().map_err(ClusterError::Directory)?;
    let start_ns = now_ns();
    let guardian = if args.without.contains(&Layer::Guard) {
        Guardian::disabled()
    } else {
        Guardian::start().map_err(ClusterError::Guard)?
    };
    let options = ClusterOptions {
        nodes: args.nodes,
        server_bin: args.server_bin.clone(),
        transport: args.transport,
        persist: args.persist,
        die_with_us: !args.keep && !args.without.contains(&Layer::Kernel),
    };
    let cluster = Cluster::start(&options, Arc::new(guardian))?;
    let took_ms = now_ns().saturating_sub(start_ns) / 1_000_000;
    let (count, server, id) = (cluster.len(), cluster.server(), cluster.id());
    let nodes = if count == 1 { "node" } else { "nodes" };
    say(format_args!("{count} {nodes}, {server}, up in {took_ms} ms as cluster {id}"));
    let urls: Vec<_> = cluster.urls().iter().map(ToString::to_string).collect();
    let line = format!("LOADGEN_NODES={}", urls.join(","));
    if args.keep && interrupted.try_recv().is_err() {
        cluster.keep()?;
        say(format_args!("'loadgen nodes down' ends {}", if count == 1 { "it" } else { "them" }));
        tell(format_args!("{line}"));
        return Ok(());
    }
    if !args.keep {
        say(format_args!("Ctrl-C ends {}", if count == 1 { "it" } else { "them" }));
        tell(format_args!("{line}"));
        // A closed channel means that nothing listens for signals: end as well.
        let _ = interrupted.recv();
    }
    cluster.stop()
}

/// Tells the first SIGINT, SIGTERM or SIGHUP; the second ends the process at once, and the guard
/// does the rest.
fn interrupts() -> io::Result<Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, is_ready) = mpsc::channel();
    let (first, interrupted) = mpsc::channel();
    let listen = async move {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let streams = kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>();
        let mut streams = match streams {
            Ok(streams) => streams,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        any(&mut streams).await;
        let _ = first.send(());
        any(&mut streams).await;
        std::process::exit(130);
    };
    thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listen))?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the signal thread ended")))?;
    Ok(interrupted)
}

/// The next signal of any of `streams`.
async fn any(streams: &mut [Signal]) {
    std::future::poll_fn(|context| {
        if streams.iter_mut().any(|stream| stream.poll_recv(context).is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

fn down_all(registry: &Registry) -> Result<(), ClusterError> {
    for id in registry.reap()? {
        say(format_args!("ended orphaned cluster {id}"));
    }
    let mut result = Ok(());
    for entry in registry.list()? {
        match (entry.owner, Attached::find(registry, Some(&entry.id))) {
            (Owner::Kept, Ok(cluster)) => match cluster.down() {
                Ok(()) => say(format_args!("ended cluster {}", entry.id)),
                Err(error) => result = Err(error),
            },
            (Owner::Process(owner), _) => {
                let (id, pid) = (&entry.id, owner.pid());
                say(format_args!("cluster {id} belongs to pid {pid}, which runs: left alone"));
            }
            // Somebody else was quicker.
            (Owner::Kept, Err(_)) => {}
        }
    }
    result
}

fn ps(registry: &Registry) -> Result<(), ClusterError> {
    let entries = registry.list()?;
    if entries.is_empty() {
        say(format_args!("no cluster is up"));
    }
    for entry in &entries {
        let owner = match entry.owner {
            Owner::Kept => "kept".to_owned(),
            Owner::Process(_) if entry.is_orphan() => "orphaned".to_owned(),
            Owner::Process(owner) => format!("owner pid {}", owner.pid()),
        };
        tell(format_args!("cluster {}  {}  {owner}", entry.id, entry.server));
        for node in &entry.nodes {
            let pid = node.process.map_or_else(|| "-".to_owned(), |id| id.pid().to_string());
            let (name, state) = (node_name(node.index), state_of(node));
            let url = Launcher::url_of(entry.transport, node);
            // Only a node that runs can say it.
            let epoch = (state == NodeState::Running).then(|| epoch::read(&url));
            let epoch = epoch.map(|epoch| format!("  {epoch}")).unwrap_or_default();
            let state = state.to_string();
            tell(format_args!("  {name}  {state:<8}  pid {pid:<8}  {url}{epoch}"));
        }
    }
    Ok(())
}

pub(super) fn tell(line: fmt::Arguments<'_>) {
    // A reader that went away is no error of ours.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

pub(super) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Main {
        #[command(subcommand)]
        command: Command,
    }

    /// Plays `main` when another test started this binary again: see `process::self_command`.
    #[test]
    fn play_main() {
        let Ok(args) = std::env::var("LOADGEN_TEST_ARGS") else { return };
        let args = ["loadgen"].into_iter().chain(args.split('\u{1f}').filter(|a| !a.is_empty()));
        let code = run(Main::parse_from(args).command);
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }

    #[test]
    fn nodes_are_counted_from_one() {
        assert_eq!((parse_node("1"), parse_node("n9")), (Ok(0), Ok(8)));
        for text in ["0", "n0", "", "n", "-1", "x2", "99999999999999999999"] {
            let error = parse_node(text).unwrap_err();
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
    }
}
