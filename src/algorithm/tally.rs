//! The votes of one round over N nodes, packed into one word, and the rule that decides it.
//!
//! Pure: `apply(word, node, vote) -> (word, Decision)`. The engine keeps the word in an atomic
//! and retries the function on a lost race, so that every vote is counted by exactly one caller.
//!
//! ```text
//!            q granted                      release
//!   Open ───────────────► Won ────────────────────────► Released
//!    │  more than n-q not granted
//!    ├─────────────────► Lost        a grant that arrives in Lost or Abandoned is owed a
//!    │  caller gone                  release; in Won it joins the lease
//!    └─────────────────► Abandoned
//! ```
//! - I1 the phase leaves Open once, by one vote or one caller.
//! - I2 a node votes once per round; only an unknown answer may still become a known one.
//! - I3 every grant is seen by whoever moves the phase, or, later, by its voter as Kept or Owed.
//! - I4 of an open round fewer than a quorum carry it; with those that have not voted enough do.

/// Nodes in one fleet at most: three planes of 15 bits, the phase and the sizes fill one word.
pub(crate) const NODES_MAX: usize = 15;

const PLANE_BITS: u32 = 16;
const PLANE_MASK: u64 = 0xffff;
/// The bits of node 0.
const ALL_PLANES: u64 = 1 | (1 << PLANE_BITS) | (1 << (2 * PLANE_BITS));
const PHASE_SHIFT: u32 = 48;
const NODES_SHIFT: u32 = 52;
const QUORUM_SHIFT: u32 = 56;
const ROUND_SHIFT: u32 = 60;
const _: () = assert!(NODES_MAX < PLANE_BITS as usize);

/// What one node's answer, or its absence, says in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Vote {
    /// The node did what was asked: set, deleted or lengthened our key.
    Granted = 1,
    /// The node holds another owner's value.
    Denied = 2,
    /// The command never left: the node certainly did nothing.
    NotSent = 3,
    /// Sent, no answer: the node may have done it.
    Unknown = 4,
    /// The node answered, but its answer may not count (a definite refusal, or quarantine).
    Ineligible = 5,
    /// The node holds no such key (releases and extensions).
    Missing = 6,
}

impl Vote {
    const fn from_code(code: u64) -> Option<Self> {
        match code {
            1 => Some(Self::Granted),
            2 => Some(Self::Denied),
            3 => Some(Self::NotSent),
            4 => Some(Self::Unknown),
            5 => Some(Self::Ineligible),
            6 => Some(Self::Missing),
            _ => None,
        }
    }

    /// Its code, a bit in each plane, for node 0.
    const fn planes(self) -> u64 {
        let code = self as u64;
        (code & 1) | ((code & 2) << (PLANE_BITS - 1)) | ((code & 4) << (2 * PLANE_BITS - 2))
    }
}

/// Where a round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Open = 0,
    Won = 1,
    Lost = 2,
    Abandoned = 3,
    Released = 4,
}

impl Phase {
    const fn from_code(code: u64) -> Self {
        match code {
            0 => Self::Open,
            1 => Self::Won,
            2 => Self::Lost,
            3 => Self::Abandoned,
            _ => Self::Released,
        }
    }
}

/// What a vote did to its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This vote won the round.
    Won,
    /// This vote made winning impossible.
    Lost,
    /// A grant that came after the round was won: one more node held.
    Kept,
    /// A grant that nobody wants any more: its node is owed a release.
    Owed,
    /// Counted, nothing decided by it.
    Counted,
}

impl Decision {
    /// Whether it ends an open round.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Won | Self::Lost)
    }
}

/// Which votes carry a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Only grants: acquisitions and extensions.
    Grants,
    /// Grants and missing keys alike: a release is done where the key is gone.
    Gone,
}

/// A round's word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally(u64);

impl Tally {
    /// An open round over `nodes` nodes that needs `quorum` of them.
    ///
    /// Both must lie in `1..=NODES_MAX` with `quorum <= nodes`; the builder has checked that.
    pub(crate) fn new(nodes: usize, quorum: usize, round: u8) -> Self {
        debug_assert!((1..=NODES_MAX).contains(&nodes) && (1..=nodes).contains(&quorum));
        Self(
            ((nodes as u64 & 0xf) << NODES_SHIFT)
                | ((quorum as u64 & 0xf) << QUORUM_SHIFT)
                | (u64::from(round & 0xf) << ROUND_SHIFT),
        )
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    pub(crate) const fn nodes(self) -> usize {
        ((self.0 >> NODES_SHIFT) & 0xf) as usize
    }

    pub(crate) const fn quorum(self) -> usize {
        ((self.0 >> QUORUM_SHIFT) & 0xf) as usize
    }

    /// The round's number, modulo 16: tells a vote of an earlier round from one of this.
    pub(crate) const fn round(self) -> u8 {
        (self.0 >> ROUND_SHIFT) as u8
    }

    pub(crate) const fn phase(self) -> Phase {
        Phase::from_code((self.0 >> PHASE_SHIFT) & 0xf)
    }

    /// The node's vote; `None` while it has not voted (or there is no such node).
    pub(crate) fn vote(self, node: usize) -> Option<Vote> {
        if node >= self.nodes() {
            return None;
        }
        let bit = |plane: u32| (self.0 >> (plane * PLANE_BITS) >> node) & 1;
        Vote::from_code(bit(0) | (bit(1) << 1) | (bit(2) << 2))
    }

    /// How many nodes voted so.
    pub(crate) const fn count(self, vote: Vote) -> usize {
        self.set(vote).count_ones() as usize
    }

    /// The nodes that voted so, as a bit set.
    #[expect(clippy::cast_possible_truncation, reason = "masked to 16 bits")]
    pub(crate) const fn set(self, vote: Vote) -> u16 {
        let code = vote as u64;
        let mut nodes = PLANE_MASK;
        let mut plane = 0;
        while plane < 3 {
            let bits = (self.0 >> (plane * PLANE_BITS)) & PLANE_MASK;
            nodes &= if (code >> plane) & 1 == 1 { bits } else { !bits };
            plane += 1;
        }
        nodes as u16
    }

    /// The nodes that have not voted, as a bit set.
    #[expect(clippy::cast_possible_truncation, reason = "masked to 15 bits")]
    pub(crate) const fn pending(self) -> u16 {
        let voted = self.0 | (self.0 >> PLANE_BITS) | (self.0 >> (2 * PLANE_BITS));
        let all = (1u64 << self.nodes()) - 1;
        (all & !voted) as u16
    }

    /// Counts one vote. `None`: the vote does not count (I2) and the word stays.
    pub(crate) fn apply(self, node: usize, vote: Vote, rule: Rule) -> Option<(Self, Decision)> {
        if node >= self.nodes() {
            return None;
        }
        let before = (self.0 >> node) & ALL_PLANES;
        // I2: an unknown answer that arrives after all is still this node's one vote.
        let is_new = before == 0 || (before == Vote::Unknown.planes() && vote != Vote::Unknown);
        if !is_new {
            return None;
        }
        let next = self.with_vote(node, vote);
        let carries = vote == Vote::Granted || (rule == Rule::Gone && vote == Vote::Missing);
        let decision = match self.phase() {
            // I4: the one can only win, and the other only lose.
            Phase::Open if carries && next.carried(rule) >= next.quorum() => Decision::Won,
            Phase::Open if !carries && next.carried(rule) + next.open() < next.quorum() => {
                Decision::Lost
            }
            Phase::Open => Decision::Counted,
            Phase::Won if carries => Decision::Kept,
            Phase::Won => Decision::Counted,
            Phase::Lost | Phase::Abandoned | Phase::Released if vote == Vote::Granted => {
                Decision::Owed
            }
            Phase::Lost | Phase::Abandoned | Phase::Released => Decision::Counted,
        };
        let next = match decision {
            Decision::Won => next.with_phase(Phase::Won),
            Decision::Lost => next.with_phase(Phase::Lost),
            Decision::Kept | Decision::Owed | Decision::Counted => next,
        };
        Some((next, decision))
    }

    /// The caller is gone: an open round ends here. `None`: it was decided already.
    pub(crate) fn abandon(self) -> Option<Self> {
        (self.phase() == Phase::Open).then(|| self.with_phase(Phase::Abandoned))
    }

    /// The holder lets go of a won round. `None`: it was not won, or let go already.
    pub(crate) fn release(self) -> Option<Self> {
        (self.phase() == Phase::Won).then(|| self.with_phase(Phase::Released))
    }

    /// A round that counts as won without a grant: a lease taken over from elsewhere.
    pub(crate) const fn adopted(self) -> Self {
        self.with_phase(Phase::Won)
    }

    const fn with_phase(self, phase: Phase) -> Self {
        Self((self.0 & !(0xf << PHASE_SHIFT)) | ((phase as u64) << PHASE_SHIFT))
    }

    const fn with_vote(self, node: usize, vote: Vote) -> Self {
        Self((self.0 & !(ALL_PLANES << node)) | (vote.planes() << node))
    }

    const fn carried(self, rule: Rule) -> usize {
        let carry = match rule {
            Rule::Grants => self.set(Vote::Granted),
            Rule::Gone => self.set(Vote::Granted) | self.set(Vote::Missing),
        };
        carry.count_ones() as usize
    }

    /// Nodes whose vote may still become a grant *within the round*: those that have not voted.
    /// An unknown answer is not waited for: Redlock counts it against the round.
    const fn open(self) -> usize {
        self.pending().count_ones() as usize
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tally({:?}, {} of {}:", self.phase(), self.quorum(), self.nodes())?;
        for node in 0..self.nodes() {
            match self.vote(node) {
                None => write!(f, " -")?,
                Some(vote) => write!(f, " {vote:?}")?,
            }
        }
        write!(f, ")")
    }
}

#[cfg(test)]
mod tests;
