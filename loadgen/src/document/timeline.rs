//! What happened when: the lines of `events.jsonl`, and the marks of the figures over time.

use serde::{Deserialize, Serialize};

use crate::backend::NodeView;

/// Events of a result at most; what is left out is counted.
pub(crate) const MOST_EVENTS: usize = 2_000;

/// One event; instants count from the measured start and are negative in the warm-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) at_ns: i64,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What happened. Faults and nodes are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum What {
    FaultBegins {
        fault: usize,
        kind: String,
        nodes: Vec<usize>,
        /// Of the load.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        processes: Vec<usize>,
    },
    FaultHealed {
        fault: usize,
        kind: String,
        nodes: Vec<usize>,
        /// Of the load.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        processes: Vec<usize>,
    },
    /// The end of the longest time without a grant that overlaps the fault.
    GrantsAgain {
        fault: usize,
        gap_ns: u64,
    },
    Node {
        node: usize,
        was: State,
        now: State,
    },
    /// The machine did not run this program for so long, within the 100 ms that begin here.
    Hiccup {
        stall_ns: u64,
    },
    Violation {
        key: String,
        held_by: u32,
        granted_to: u32,
    },
}

/// What a node is to the locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Away,
    /// Connected, but its votes do not count yet.
    Quarantined,
    Up,
}

impl From<NodeView> for State {
    fn from(view: NodeView) -> Self {
        match view {
            NodeView::Away => Self::Away,
            NodeView::Quarantined => Self::Quarantined,
            NodeView::Up => Self::Up,
        }
    }
}
