//! The processes of a run. With one, its load runs on a thread of the parent; with more, each is
//! the same program re-executed as `__agent`, with an engine of its own.
//!
//! Invariants:
//! 1. A worker process ends when its parent does, however that ends: its standard input closes.
//! 2. A worker process that ends early is reported as [`Message::Gone`], never taken for an idle
//!    one.
//! 3. All processes start at one instant of the common clock.

use std::io::{self, BufReader, BufWriter};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::cluster::process::ProcId;
use crate::config::RunConfig;
use crate::driver::{Event, Load};
use crate::frames::{self, Command, Order};
use crate::interrupt;
use crate::oracle::judge::Oracle;

/// Messages that may wait for the parent's loop.
const MOST_WAITING: usize = 4_096;

/// What reaches the parent's loop.
#[derive(Debug)]
pub(crate) enum Message {
    From(u32, Event),
    /// The process ended without its final report.
    Gone(u32, String),
    /// A fault of the run ended the process.
    Killed(u32),
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

#[derive(Debug)]
enum Member {
    Local { go: Option<Sender<u64>>, thread: Option<std::thread::JoinHandle<()>> },
    Process { child: Child, input: Option<ChildStdin> },
}

/// The processes of a run, as the parent sees them.
#[derive(Debug)]
pub(crate) struct Crew {
    members: Vec<Member>,
    stop: Arc<AtomicBool>,
    messages: Receiver<Message>,
}

impl Crew {
    /// Starts every process of `config`; each connects and then says [`Event::Ready`].
    pub(crate) fn start(config: &RunConfig, oracle: &Path) -> io::Result<Self> {
        let (sender, messages) = sync_channel(MOST_WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let mut crew = Self { members: Vec::new(), stop, messages };
        interrupt::send_to(sender.clone())?;
        for process in 0..config.processes {
            let member = if config.processes == 1 {
                crew.local(config.clone(), oracle, sender.clone())?
            } else {
                agent(config, process, oracle, sender.clone())?
            };
            crew.members.push(member);
        }
        Ok(crew)
    }

    fn local(
        &self,
        config: RunConfig,
        oracle: &Path,
        sender: SyncSender<Message>,
    ) -> io::Result<Member> {
        let oracle = Oracle::open(oracle, &config)?;
        let stop = Arc::clone(&self.stop);
        let (go, start) = channel::<u64>();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            let emit = |event| {
                let _ = sender.send(Message::From(0, event));
            };
            match Load::prepare(config, 0, oracle) {
                Err(text) => emit(Event::Failed(text)),
                Ok(load) => {
                    emit(Event::Ready(load.owner()));
                    if let Ok(start_ns) = start.recv() {
                        load.run(start_ns, &stop, emit);
                    }
                }
            }
            let _ = sender.send(Message::Gone(0, "the load thread ended".to_owned()));
        })?;
        Ok(Member::Local { go: Some(go), thread: Some(thread) })
    }

    /// Tells every process when to start.
    pub(crate) fn go(&mut self, start_ns: u64) {
        for member in &mut self.members {
            match member {
                Member::Local { go, .. } => {
                    let _ = go.as_ref().map(|go| go.send(start_ns));
                }
                Member::Process { input, .. } => tell(input, Command::Go { start_ns }),
            }
        }
    }

    /// Tells every process to stop now.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for member in &mut self.members {
            if let Member::Process { input, .. } = member {
                tell(input, Command::Stop);
            }
        }
    }

    /// The processes that are not this one, in their order.
    pub(crate) fn processes(&self) -> io::Result<Vec<ProcId>> {
        let children = self.members.iter().filter_map(|member| match member {
            Member::Local { .. } => None,
            Member::Process { child, .. } => Some(ProcId::of(child.id())),
        });
        children.collect()
    }

    pub(crate) fn messages(&self) -> &Receiver<Message> {
        &self.messages
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
        for member in &mut self.members {
            match member {
                Member::Local { go, thread } => {
                    drop(go.take());
                    // Messages nobody reads any more must not keep the thread waiting.
                    while thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
                        let wait = std::time::Duration::from_millis(5);
                        let _ = self.messages.recv_timeout(wait);
                    }
                    let _ = thread.take().map(std::thread::JoinHandle::join);
                }
                Member::Process { child, input } => {
                    // The end of its input is its end; whoever does not obey is killed.
                    drop(input.take());
                    for _ in 0..100 {
                        if !matches!(child.try_wait(), Ok(None)) {
                            break;
                        }
                        let wait = std::time::Duration::from_millis(10);
                        let _ = self.messages.recv_timeout(wait);
                    }
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        }
    }
}

/// A worker process that is gone is reported by its reader, so a failure to write is not.
fn tell(input: &mut Option<ChildStdin>, command: Command) {
    let _ = input.as_mut().map(|input| frames::send_json(input, &command));
}

fn agent(
    config: &RunConfig,
    process: u32,
    oracle: &Path,
    sender: SyncSender<Message>,
) -> io::Result<Member> {
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .arg("__agent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C on a terminal reaches the parent alone, which then stops the run in order.
        .process_group(0)
        .spawn()?;
    let (mut input, output) = (child.stdin.take(), child.stdout.take());
    let order = Order { process, config: config.clone(), oracle: oracle.to_path_buf() };
    if let Some(input) = &mut input {
        frames::send_json(input, &order)?;
    }
    std::thread::Builder::new().name(format!("agent-{process}")).spawn(move || {
        let Some(output) = output else { return };
        let mut output = BufReader::new(output);
        let why = loop {
            match frames::receive_event(&mut output) {
                Ok(Some(event)) => {
                    if sender.send(Message::From(process, event)).is_err() {
                        return;
                    }
                }
                Ok(None) => break "it ended".to_owned(),
                Err(error) => break format!("it sent nonsense: {error}"),
            }
        };
        let _ = sender.send(Message::Gone(process, why));
    })?;
    Ok(Member::Process { child, input })
}

/// The worker process: an order and commands on stdin, events on stdout.
pub(crate) fn run_agent() -> io::Result<()> {
    let mut input = BufReader::new(io::stdin());
    let Some(order) = frames::receive_json::<Order>(&mut input)? else { return Ok(()) };
    let mut output = BufWriter::new(io::stdout());
    let oracle = Oracle::open(&order.oracle, &order.config)?;
    let load = match Load::prepare(order.config, order.process, oracle) {
        Ok(load) => load,
        Err(text) => return frames::send_event(&mut output, &Event::Failed(text)),
    };
    frames::send_event(&mut output, &Event::Ready(load.owner()))?;
    let Some(Command::Go { start_ns }) = frames::receive_json(&mut input)? else { return Ok(()) };
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&stop);
    std::thread::spawn(move || {
        while let Ok(Some(Command::Stop)) = frames::receive_json(&mut input) {
            theirs.store(true, Ordering::Relaxed);
        }
        // The parent is gone or has seen enough: nobody reads what this process would still say.
        std::process::exit(1);
    });
    let mut broken = None;
    load.run(start_ns, &stop, |event| {
        if broken.is_none() {
            broken = frames::send_event(&mut output, &event).err();
            if broken.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    broken.map_or(Ok(()), Err)
}
