//! A section as a whole: all names it claims, entered and left together.

use super::crowd::Joined;
use super::{Entered, Handover, Oracle, Span};
use crate::history::Note;
use crate::mode::{Claim, Class};

/// Who enters, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) client: u32,
    /// Counts this client's grants from 1.
    pub(crate) generation: u64,
    /// When the lock was asked for.
    pub(crate) called_ns: u64,
    /// Somebody was in the way, by the lock's own account.
    pub(crate) contended: bool,
    /// Its fencing token, 0 for none.
    pub(crate) token: u64,
    /// When the guard was returned.
    pub(crate) begin_ns: u64,
    /// When its validity ends, as known by then.
    pub(crate) end_ns: u64,
}

/// A section under way. Dropped without [`Inside::leave`], it counts as released at that instant.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    oracle: &'a Oracle,
    parts: Parts<'a>,
    /// Of a run that keeps a history.
    note: Option<Note<'a>>,
    /// How the last of its names came from its predecessor, if this client was waiting by then.
    pub(crate) handover: Option<Handover>,
}

#[derive(Debug)]
enum Parts<'a> {
    /// One holder of one name: nothing is allocated.
    One(Entered<'a>),
    /// One holder of each of several names.
    All(Vec<Entered<'a>>),
    /// Names with several holders.
    Crowd(Vec<Joined<'a>>),
}

impl Oracle {
    /// A grant of `claims`, whose names begin at `first` among the cells.
    pub(crate) fn enter_all(&self, claims: &[Claim], first: u64, entry: Entry) -> Inside<'_> {
        let Entry { client, generation, called_ns, contended, token, begin_ns, end_ns } = entry;
        let span = Span { client, begin_ns, end_ns };
        self.begin_section(generation, span);
        let cell = |claim: &Claim| first + u64::from(claim.cell);
        let occupy = |claim| self.occupy(cell(claim), generation, called_ns, span);
        // Of several permits one can be given back while others are free: nobody waited for that.
        let is_told = |class| contended || class != Class::Permit;
        let join = |claim: &Claim| {
            let waiting = is_told(claim.class).then_some(called_ns);
            self.join((cell(claim), claim.class), generation, waiting, span)
        };
        let parts = match claims {
            // A section's names are all of one kind.
            [one, ..] if self.is_crowded(cell(one)) => {
                Parts::Crowd(claims.iter().map(join).collect())
            }
            [one] => Parts::One(occupy(one)),
            all => Parts::All(all.iter().map(occupy).collect()),
        };
        let handovers: &mut dyn Iterator<Item = Option<Handover>> = match &parts {
            Parts::One(entered) => &mut std::iter::once(entered.handover),
            Parts::All(all) => &mut all.iter().map(|entered| entered.handover),
            Parts::Crowd(all) => &mut all.iter().map(|joined| joined.handover),
        };
        // What was released last was waited for.
        let handover = handovers.flatten().min_by_key(|handover| handover.took_ns);
        self.mark_grant(begin_ns);
        self.count_grant(handover);
        let note = self.history.as_ref().and_then(|writer| {
            let parts = || claims.iter().map(|claim| (cell(claim), claim.class));
            let kept = writer.keeps(parts().map(|(cell, _)| cell), begin_ns, self.base_ns());
            let who = (client, generation, token);
            kept.then(|| Note::new(writer, parts().collect(), who, (begin_ns, end_ns)))
        });
        Inside { oracle: self, parts, note, handover }
    }
}

impl Inside<'_> {
    /// The section ends: its release is about to be called, `asked_ns` being now. `valid` asks the
    /// guard; it is asked around every look at a counter. Returns whether the section was wholly
    /// inside its validity.
    pub(crate) fn leave(self, asked_ns: u64, valid: impl Fn() -> bool) -> bool {
        // Every name is left, also behind one that was left too late.
        let in_time = match self.parts {
            Parts::One(entered) => entered.finish(asked_ns, &valid),
            Parts::All(all) => {
                all.into_iter().fold(true, |so_far, part| part.finish(asked_ns, &valid) & so_far)
            }
            Parts::Crowd(all) => {
                all.into_iter().fold(true, |so_far, part| part.finish(asked_ns, &valid) & so_far)
            }
        };
        if let Some(note) = self.note {
            note.left(asked_ns, in_time);
        }
        if !in_time {
            self.oracle.note_overrun();
        }
        in_time
    }
}
