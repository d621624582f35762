//! The ceiling: one thread, one epoll loop, frames formatted beforehand, no runtime, no tasks. A
//! "task" is a slot that is acquired, released, and acquired again; a majority moves it on.
//!
//! Frames that became due while one batch of events was handled leave in one write per socket:
//! the loop batches by being busy and never waits for more.
//!
//! Invariants:
//! 1. Replies of a connection belong to its frames in order. A reply for an attempt that its slot
//!    has left behind is checked and otherwise ignored.
//! 2. Every SET is followed, on every connection, by the release of the same token, before the
//!    next SET of that key. So on keys that no one else uses each SET is granted and each release
//!    deletes, late ones too; anything else is counted as an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::cell::{CellSpec, Observer};
use crate::gate::{self, Moment};
use crate::link::{Links, Pending, Verb};
use crate::peer::Library;
use crate::probe_frames::Frames;
use crate::redlock::RELEASE;
use crate::window::Window;
use crate::wire::Wire;
use crate::witness;

/// No reply for this long means that the loop waits for something that will not come.
const STUCK_AFTER_S: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Acquiring,
    /// Only where the loop is told not to release by itself.
    Held,
    Releasing,
}

#[derive(Debug)]
struct Slot {
    frames: Frames,
    state: State,
    /// Counts attempts; a reply carries the one it answers.
    generation: u32,
    yes: usize,
    no: usize,
    begin: Instant,
    acquired: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Acquire, release, both awaited.
    Cycle,
    /// The release and the next acquire leave together.
    Fused,
    /// One step at a time, for the check from outside.
    Step,
}

struct Probe<'a> {
    links: Links,
    slots: Vec<Slot>,
    quorum: usize,
    mode: Mode,
    one_key: bool,
    window: &'a Window,
    now: Instant,
}

pub(crate) fn run<O>(spec: &CellSpec, window: &Arc<Window>, observer: O) -> Result<Observer>
where
    O: FnOnce(Moment) -> Observer,
{
    let mut sha = String::new();
    for port in &spec.ports {
        sha = Wire::connect(*port)?.text(&["SCRIPT", "LOAD", RELEASE])?;
    }
    check(spec, &sha)?;
    let mode = if spec.peer.library == Library::ProbeNext { Mode::Fused } else { Mode::Cycle };
    if spec.one_key && mode != Mode::Fused {
        return Err("on one key only probe-next is a measure: probe has no queue".into());
    }
    let slots = if spec.one_key { 1 } else { spec.tasks };
    let keys = (0..slots).map(|slot| spec.key(slot)).collect();
    let mut probe = Probe::new(spec, keys, &sha, mode, window)?;
    let observer = observer(gate::pass()?);
    let result = probe.run();
    if let Err(error) = result {
        window.error(|| error.to_string());
    }
    Ok(observer)
}

/// The check of `witness`, with one slot of this loop.
fn check(spec: &CellSpec, sha: &str) -> Result<()> {
    let window = Window::new(1, None);
    let mut probe = Probe::new(spec, vec![witness::KEY.to_owned()], sha, Mode::Step, &window)?;
    probe.acquire(0);
    probe.until(|probe| probe.slots.iter().all(|slot| slot.state == State::Held))?;
    witness::is_held(spec)?;
    probe.release(0);
    probe.until(Probe::is_drained)?;
    witness::is_free(spec)?;
    match window.errors() {
        (0, _) => Ok(()),
        (_, first) => Err(first.unwrap_or_default().into()),
    }
}

impl<'a> Probe<'a> {
    fn new(
        spec: &CellSpec,
        keys: Vec<String>,
        sha: &str,
        mode: Mode,
        window: &'a Window,
    ) -> Result<Self> {
        let now = Instant::now();
        let slot = |key: &String| Slot {
            frames: Frames::new(key, sha),
            state: State::Idle,
            generation: 0,
            yes: 0,
            no: 0,
            begin: now,
            acquired: now,
        };
        Ok(Self {
            links: Links::connect(&spec.ports)?,
            slots: keys.iter().map(slot).collect(),
            quorum: spec.quorum(),
            mode,
            one_key: spec.one_key,
            window,
            now,
        })
    }

    fn run(&mut self) -> Result<()> {
        self.now = Instant::now();
        if self.one_key {
            for waiter in 0..self.window.tasks.len() {
                self.window.wait_begins(waiter, self.now);
            }
        }
        for slot in 0..self.slots.len() {
            self.acquire(slot);
        }
        // A majority ended the last cycles; the other nodes' releases must arrive as well.
        self.until(Self::is_drained)
    }

    fn is_drained(&self) -> bool {
        self.links.is_drained() && self.slots.iter().all(|slot| slot.state == State::Idle)
    }

    /// Turns the loop until `done`, which is asked once per batch of events.
    fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<()> {
        let mut last_reply = Instant::now();
        let mut replies = Vec::new();
        loop {
            self.links.flush()?;
            for link in self.links.wait()? {
                self.links.read(link, &mut replies)?;
                self.now = Instant::now();
                if !replies.is_empty() {
                    last_reply = self.now;
                }
                for (pending, reply) in replies.drain(..) {
                    self.on_reply(pending, reply);
                }
            }
            // All slots only have to be looked at when there is a reason to end.
            if (self.mode == Mode::Step || self.window.is_stopped()) && done(self) {
                return self.links.flush();
            }
            if last_reply.elapsed().as_secs() >= STUCK_AFTER_S {
                return Err(format!("no reply for {STUCK_AFTER_S} s").into());
            }
        }
    }

    fn acquire(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.generation = slot.generation.wrapping_add(1);
        slot.frames.next_token();
        (slot.state, slot.yes, slot.no) = (State::Acquiring, 0, 0);
        slot.begin = self.now;
        let pending = Pending { slot: index as u32, generation: slot.generation, verb: Verb::Set };
        self.links.push_all(slot.frames.acquire(), pending);
    }

    fn release(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        (slot.state, slot.yes, slot.no) = (State::Releasing, 0, 0);
        let pending =
            Pending { slot: index as u32, generation: slot.generation, verb: Verb::Delete };
        self.links.push_all(slot.frames.release(), pending);
    }

    /// `reply`: granted or deleted; refused or not found; or an error's text.
    fn on_reply(&mut self, pending: Pending, reply: Result<bool, String>) {
        let is_yes = match reply {
            Ok(true) => true,
            Ok(false) => {
                self.window.error(|| format!("a key of its own was refused: {pending:?}"));
                false
            }
            Err(text) => {
                self.window.error(|| text);
                false
            }
        };
        let index = pending.slot as usize;
        let Some(slot) = self.slots.get_mut(index) else { return };
        let awaited = match pending.verb {
            Verb::Set => State::Acquiring,
            Verb::Delete => State::Releasing,
        };
        if slot.generation != pending.generation || slot.state != awaited {
            return;
        }
        slot.yes += usize::from(is_yes);
        slot.no += usize::from(!is_yes);
        let is_won = slot.yes == self.quorum;
        let is_lost = slot.no > self.links.len() - self.quorum;
        match awaited {
            State::Acquiring if is_won => self.on_acquired(index),
            // Counted above. Release whatever was granted and go on.
            State::Acquiring if is_lost => self.release(index),
            State::Releasing if is_won || is_lost => self.on_released(index),
            _ => (),
        }
    }

    fn on_acquired(&mut self, index: usize) {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.acquired = now;
        match self.mode {
            Mode::Step => slot.state = State::Held,
            Mode::Cycle => self.release(index),
            Mode::Fused => {
                let mut waited = now - slot.begin;
                let waiter = self.waiter(index);
                if self.one_key {
                    waited = self.window.wait_ends(waiter, now);
                    self.window.enters(waiter);
                    self.window.leaves();
                    self.window.wait_begins(waiter, now);
                }
                self.window.record(waited, Duration::ZERO, waited);
                self.count(waiter);
                self.release(index);
                if !self.window.is_stopped() {
                    self.acquire(index);
                }
            }
        }
    }

    fn on_released(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.state = State::Idle;
        if self.mode != Mode::Cycle {
            return;
        }
        let (acquired, done) = (slot.acquired - slot.begin, self.now - slot.begin);
        self.window.record(acquired, Duration::ZERO, done);
        self.count(index);
        if !self.window.is_stopped() {
            self.acquire(index);
        }
    }

    fn count(&self, task: usize) {
        if let Some(counters) = self.window.tasks.get(task) {
            counters.add_cycle();
        }
    }

    /// Who holds: on one key the waiters take turns in order.
    fn waiter(&self, index: usize) -> usize {
        match self.slots.get(index) {
            Some(slot) if self.one_key => slot.generation as usize % self.window.tasks.len(),
            _ => index,
        }
    }
}
