//! What a connection watches over time: overdue answers, blocked writes, silence, the heartbeat.

use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::algorithm::script;
use crate::engine::clock::Timer;
use crate::engine::connection::{Connection, Fault};
use crate::engine::dispatch::Dispatch;
use crate::engine::driver;
use crate::engine::node::{Health, Node, RUNS_WILD, count};
use crate::engine::sealed::Proof;
use crate::resp::command;
use crate::session::answer::Kind;
use crate::session::stamp::{Intent, Stamp};
use crate::time::Timestamp;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Deadlines: overdue answers, blocked writes, silence. Runs after everything readable was
    /// read, so that a stall of this process is not mistaken for one of the node.
    pub(super) fn watch(
        &mut self,
        cx: &mut Context<'_>,
        node: &Node,
        now: Timestamp,
        timer: &mut Timer,
    ) -> Result<(), Fault> {
        let settings = &node.settings;
        while timer.poll_fired(cx).is_ready() {}
        let blocked = !self.write.is_empty() || !self.staged.is_empty();
        self.blocked_since = blocked.then(|| self.blocked_since.unwrap_or(now));
        let expired = Dispatch::expire(&mut self.pipeline, &self.sealed, node, now);
        count(&node.counters.timeouts, expired);
        let stuck = self.blocked_since.is_some_and(|at| at.plus(settings.node_timeout) <= now);
        let healthy = self.pipeline.overdue() == 0 && !stuck;
        let health = if healthy { self.health(node, now) } else { Health::Suspect };
        let before = node.health();
        if health != before {
            node.set_health(health);
            if before == Health::Quarantined {
                node.fleet_changed();
            }
        }
        if stuck {
            Dispatch::withdraw(&mut self.staged, node, now);
        }
        let silent_since = self.pipeline.oldest().map(|oldest| oldest.max(self.last_activity));
        if silent_since.is_some_and(|at| at.plus(settings.unresponsive_after) <= now) {
            let ms = settings.unresponsive_after.as_millis();
            return Err(Fault(format!("no answer for {ms} ms")));
        }
        if !self.refused.is_empty() && self.retry_at <= now {
            self.staged.releases.append(&mut self.refused);
            self.retry_at = now.plus(settings.heartbeat_interval);
            cx.waker().wake_by_ref();
        }
        if self.step.is_some() && self.write.is_empty() {
            self.judge_step(node, now);
            self.poll_write(cx, node)?;
        }
        if self.beat_at <= now && self.write.is_empty() {
            self.beat_at = now.plus(settings.heartbeat_interval);
            self.beat(node);
            self.pipeline.end_write(now);
            self.poll_write(cx, node)?;
        }
        // While there is traffic the alarm stands within a timeout, which lets submitters write
        // without waking the driver; see `flush`.
        let quick = self.last_activity.plus(settings.node_timeout);
        let mut alarm = if quick > now { now.plus(settings.node_timeout) } else { self.beat_at };
        if health == Health::Quarantined && self.quarantine.opens_at() > now {
            alarm = alarm.min(self.quarantine.opens_at());
        }
        if let Some(at) = self.pipeline.next_expiry(settings.node_timeout) {
            alarm = alarm.min(at);
        }
        if let Some(at) = silent_since {
            alarm = alarm.min(at.plus(settings.unresponsive_after));
        }
        if let Some(at) = self.blocked_since.filter(|_| !stuck) {
            alarm = alarm.min(at.plus(settings.node_timeout));
        }
        alarm = alarm.min(self.beat_at);
        if let Some(step) = &self.step {
            alarm = alarm.min(step.judge_at);
        }
        timer.alarm(alarm.max(now), cx);
        self.armed = timer.armed();
        let (gain, delay_ns) = self.gate.averages();
        node.counters.gather_gain_x1000.store(gain, Ordering::Relaxed);
        node.counters.gather_delay_ns.store(delay_ns, Ordering::Relaxed);
        Ok(())
    }

    /// How the node is while it answers.
    pub(crate) fn health(&self, node: &Node, now: Timestamp) -> Health {
        if self.votes_count(node, now) { Health::Up } else { Health::Quarantined }
    }

    /// R1, R5: is the quarantine over, so that grants and extensions count?
    pub(super) fn votes_count(&self, node: &Node, now: Timestamp) -> bool {
        if node.runs_wild() || self.step.is_some() || self.is_strange {
            return false;
        }
        self.quarantine.opens_at() <= now || !node.settings.protections.quarantine
    }

    /// The heartbeat. A strange node is given a new epoch, so that no client counts its votes.
    fn beat(&mut self, node: &Node) {
        if self.is_strange {
            let old = self.quarantine.id().to_vec();
            self.form_stamp(node, Intent::Void(&old));
        } else {
            self.form_stamp(node, Intent::Greet);
        }
        if self.proof == Proof::Watch {
            self.rearm(node);
        }
    }

    /// Looks at the epoch, and has it tracked anew. A server whose table of tracked keys is full
    /// forgets one of them, and does not say so to whose command it then was (NOLOOP): what became
    /// of the epoch itself behind that is found here, as is what no push tells of (R3).
    fn rearm(&mut self, node: &Node) {
        command::client_caching(&mut self.write);
        self.pipeline.push(Kind::Caching, 0);
        command::get(&mut self.write, script::EPOCH_KEY.as_bytes());
        self.pipeline.push(Kind::SealEpoch, 0);
        count(&node.counters.commands, 2);
    }

    /// What time is it there, and is it still the node that we greeted?
    fn form_stamp(&mut self, node: &Node, intent: Intent<'_>) {
        driver::caller(node, &mut self.rng).write_evalsha(&mut self.write, intent);
        self.pipeline.push(Kind::Stamp, 0);
        count(&node.counters.commands, 1);
    }

    pub(super) fn on_stamp(
        &mut self,
        node: &Node,
        stamp: &Stamp,
        sent_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Fault> {
        if node.read_clock(sent_at, now, stamp.now_us) {
            self.on_step(node, now);
        }
        // R3: what no proof saw; what is in flight becomes unknown. R1': a stamp that began this
        // epoch itself ended the watch of the one before without a push (NOLOOP).
        if *stamp.id != *self.quarantine.id() {
            // Whoever began this epoch, it is younger than what was known here.
            self.is_strange = false;
            return Err(Fault::epoch());
        }
        node.fleet.learn(stamp);
        self.quarantine.note(stamp, now, node.settings.drift_ppm);
        node.set_opens_at(self.quarantine.opens_at());
        let wild = || node.runs_wild().then(|| RUNS_WILD.to_owned());
        let warning = node.fleet.mismatch(&stamp.fleet).or_else(wild);
        node.about().warning = warning;
        Ok(())
    }

    /// The node's clock seems to have stepped forward: what it holds for us may have expired. Its
    /// votes do not count until it is known whether it was that clock, or all of ours standing
    /// still; in the first case it gets a new epoch, so that no client counts its votes.
    pub(crate) fn on_step(&mut self, node: &Node, now: Timestamp) {
        node.void(now);
        node.fleet.stepped(node.index, now);
        let look = self.beat_interval(node) * 2;
        self.step = Some(Step { since: now.minus(look), judge_at: now.plus(look) });
        // Looked at again soon, so that the judgement rests on fresh readings of every clock.
        self.beat_at = now;
    }

    /// Judges a step, when every clock has been read since. Votes do not count again before the
    /// new epoch is known: until then what was answered may be from before.
    fn judge_step(&mut self, node: &Node, now: Timestamp) {
        let Some(step) = self.step.take_if(|step| step.judge_at <= now) else { return };
        if !node.fleet.stood_still(step.since) {
            let judge_at = now.plus(self.beat_interval(node) * 2);
            self.step = Some(Step { judge_at, ..step });
            let old = self.quarantine.id().to_vec();
            self.form_stamp(node, Intent::Void(&old));
            self.pipeline.end_write(now);
        }
    }

    fn beat_interval(&self, node: &Node) -> Duration {
        node.settings.heartbeat_interval
    }
}

/// A step of a node's clock that is not judged yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Steps of other clocks from here on count as the same event.
    since: Timestamp,
    judge_at: Timestamp,
}
