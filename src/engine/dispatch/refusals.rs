//! What a refusal says of its command and of the node, and scripts that a server forgot.

use crate::algorithm::tally::Vote;
use crate::engine::connection::Fault;
use crate::engine::dispatch::{Dispatch, Item};
use crate::engine::node::Owed;
use crate::engine::sealed::Proof;
use crate::resp::reply::{ErrorClass, ErrorReply};
use crate::session::answer::Kind;
use crate::session::pipeline::Pipeline;

/// Loading the scripts again, which a node has forgotten.
///
/// ```text
///        a script is missing        a write is formed        its first command is answered
///   Done ────────────────────► Due ──────────────────► Sent ───────────────────────────────► Done
/// ```
/// - I1 what is answered while it is *sent* stands in front of it: a script that is missing there
///   says nothing new, however many writes were under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    Done,
    Due,
    Sent,
}

/// SCRIPT LOADs that one connection sends without a script call between them succeeding.
pub(crate) const RELOADS_MAX: u32 = 8;

impl Dispatch<'_> {
    pub(super) fn refused(
        &mut self,
        pipeline: &mut Pipeline<Item>,
        kind: Kind,
        error: ErrorReply<'_>,
    ) -> Result<(), Fault> {
        let class = error.class();
        self.was_reloaded(kind);
        if class == ErrorClass::NoScript && kind.is_script() {
            return self.reload(pipeline);
        }
        let may_not = matches!(class, ErrorClass::NoPerm | ErrorClass::UnknownCommand);
        let other_type = class == ErrorClass::WrongType || !class.is_definite_refusal();
        if kind == Kind::ReleaseNative && (may_not || other_type) {
            // The user may not, the command was renamed, or a key of another type is in its way,
            // which servers say in words of their own: the script does the same work on any key.
            if may_not {
                *self.native = None;
            }
            pipeline.pop(|_, item| {
                if let Item::Release(owed) = item {
                    self.lanes.releases.push_back(Owed { ask: true, ..owed });
                }
            });
            return Ok(());
        }
        self.node.about().reason = Some(format!("refused: {}", error.text()));
        pipeline.pop(|_, item| match item {
            Item::Release(owed) => {
                // Still owed: tried again a little later, until the key must have expired.
                owed.op.vote_release(self.node.index, Vote::Unknown);
                self.refused.push_back(owed);
            }
            other if class.is_definite_refusal() => self.vote(other, Vote::Ineligible),
            other => self.vote(other, Vote::Unknown),
        });
        match (kind, class) {
            (_, ErrorClass::Epoch) => Err(Fault::epoch()),
            // Nothing was looked at or armed anew, and nothing has ended: the next heartbeat will.
            (Kind::SealEpoch | Kind::Caching, class)
                if self.proof == Proof::Watch && class.is_passing() =>
            {
                Ok(())
            }
            // Without its seal nothing that was granted may count; who may not watch any more is
            // greeted anew, and seals.
            (Kind::SealEpoch | Kind::SealScript, _) => Err(Fault(error.text())),
            (Kind::Caching, _) if self.proof == Proof::Watch => Err(Fault(error.text())),
            // Unseen, its clock may step and its role change (R3). Who takes no writes is only kept
            // from noting something down; who is busy does nothing else either.
            (Kind::Stamp | Kind::StampAnew, class) if !class.is_passing() => {
                Err(Fault(error.text()))
            }
            // The node is not what the handshake found: greet it again before it counts.
            (
                _,
                ErrorClass::Loading
                | ErrorClass::MasterDown
                | ErrorClass::NoAuth
                | ErrorClass::ReadOnly,
            ) => Err(Fault(error.text())),
            _ => Ok(()),
        }
    }

    /// The server forgot its scripts: stamp and load them again, then send the same calls.
    fn reload(&mut self, pipeline: &mut Pipeline<Item>) -> Result<(), Fault> {
        self.begin_reload()?;
        pipeline.pop(|_, item| match item {
            Item::Release(owed) => self.lanes.releases.push_back(owed),
            Item::Extend(extension) => self.lanes.extensions.push_back(*extension),
            Item::Acquire(op) => self.lanes.acquires.push_back(op),
            Item::Confirm(op) => self.lanes.confirms.push_back(op),
            Item::Enter(op) => self.lanes.enters.push_back(op),
            Item::Query(_) | Item::TopUp(_) | Item::Watch(_) => {}
        });
        Ok(())
    }

    /// A command of `kind` is answered.
    pub(super) fn was_reloaded(&mut self, kind: Kind) {
        if kind == Kind::StampAnew && *self.reload == Reload::Sent {
            *self.reload = Reload::Done;
        }
    }

    pub(super) fn begin_reload(&mut self) -> Result<(), Fault> {
        if *self.reload == Reload::Done {
            if *self.reloads_left == 0 {
                let reason = "the server forgets its scripts as fast as they are loaded";
                return Err(Fault(reason.into()));
            }
            *self.reload = Reload::Due;
            *self.reloads_left -= 1;
            let reason = "refused: NOSCRIPT the server forgot its scripts, they are loaded again";
            self.node.about().reason = Some(reason.into());
        }
        Ok(())
    }
}
