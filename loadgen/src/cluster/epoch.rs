//! What a node's own keys say about its epoch: whether clients count its votes.
//!
//! It only reads. A client decides by a script and by its own clock; this is for people.

use std::fmt;
use std::io;
use std::time::Duration;

use super::probe::run_id;
use super::resp::{Connection, Reply};
use super::url::NodeUrl;

const LIMIT: Duration = Duration::from_secs(1);
/// Where a node keeps the id of its epoch.
pub(crate) const EPOCH_KEY: &str = "redlatch:epoch";
const STATE_KEY: &str = "redlatch:node";

/// A node's epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Epoch {
    /// It has none: the first client begins one and waits.
    None,
    /// Its server was started again since: the next client begins another and waits.
    Void,
    Open(String),
    /// Its votes do not count for so long.
    Quarantined(String, Duration),
    /// The node did not say.
    Unknown,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |id: &str| id.chars().take(8).collect::<String>();
        match self {
            Self::None => f.write_str("no epoch yet"),
            Self::Void => f.write_str("restarted: its next client begins a new epoch"),
            Self::Open(id) => write!(f, "epoch {} open", short(id)),
            Self::Quarantined(id, left) => {
                write!(f, "epoch {} quarantined for {left:.1?}", short(id))
            }
            Self::Unknown => f.write_str("epoch unknown"),
        }
    }
}

/// Reads the epoch of the node at `url`.
pub(super) fn read(url: &NodeUrl) -> Epoch {
    let read = || -> io::Result<Epoch> {
        let mut connection = Connection::open(url, LIMIT)?;
        let id = connection.call(&["GET", EPOCH_KEY])?;
        let state = connection.call(&["GET", STATE_KEY])?;
        let now_us = time_us(&connection.call(&["TIME"])?);
        let run_id = run_id(&mut connection)?;
        Ok(match (id, state.text(), now_us, run_id) {
            (Reply::Null, ..) => Epoch::None,
            (Reply::Bulk(id), Some(state), Some(now_us), Some(run_id)) => {
                judged(String::from_utf8_lossy(&id).into_owned(), &state, now_us, &run_id)
            }
            _ => Epoch::Unknown,
        })
    };
    read().unwrap_or(Epoch::Unknown)
}

fn time_us(reply: &Reply) -> Option<u64> {
    let Reply::Array(parts) = reply else { return None };
    let mut parts = parts.iter().map(|part| part.text()?.parse::<u64>().ok());
    let (seconds, micros) = (parts.next()??, parts.next()??);
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// The state is one string: incarnation, begin, end of quarantine (us of the node's time), ...
fn judged(id: String, state: &str, now_us: u64, run_id: &str) -> Epoch {
    let mut words = state.split(' ');
    let incarnation = words.next().unwrap_or_default();
    let opens_us = words.nth(1).and_then(|word| word.parse::<u64>().ok());
    match (incarnation.split_once('/'), opens_us) {
        (Some((was, _)), Some(_)) if was != run_id => Epoch::Void,
        (Some(_), Some(opens_us)) => match opens_us.saturating_sub(now_us) {
            0 => Epoch::Open(id),
            left => Epoch::Quarantined(id, Duration::from_micros(left)),
        },
        _ => Epoch::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_that_opening_a_node_writes() {
        let words = redlatch::testing::open_node_command(Duration::ZERO);
        assert_eq!([&words[3], &words[4]], [EPOCH_KEY.as_bytes(), STATE_KEY.as_bytes()]);
    }

    #[test]
    fn the_state_says_what_a_vote_is_worth() {
        let state = "run1/repl 1000000 5000000 4000 fleet 1000000";
        let of = |now_us, run_id| judged("abcdefgh12".to_owned(), state, now_us, run_id);
        assert_eq!(of(5_000_000, "run1").to_string(), "epoch abcdefgh open");
        assert_eq!(of(2_900_000, "run1").to_string(), "epoch abcdefgh quarantined for 2.1s");
        assert_eq!(of(5_000_000, "run2"), Epoch::Void);
        for garbage in ["", "run1/r", "run1 1 2 3", "run1/r 1 x"] {
            assert_eq!(judged("a".to_owned(), garbage, 1, "run1"), Epoch::Unknown, "{garbage}");
        }
    }
}
