//! From an interval to a word. A change counts if two things hold: chance does not explain it (the
//! interval excludes "none"), and it is larger than what nobody minds (the noise threshold).

use serde::{Deserialize, Serialize};

use super::Interval;

/// Intervals that reach further to both sides than this would have hidden a tripled value.
const BLIND: f64 = 2.0;

/// What one row of a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    Better,
    NoDifference,
    /// The interval is so wide that even a large change would not have shown, or there is none.
    Unclear,
    Worse,
}

impl Word {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::NoDifference => "no difference",
            Self::Unclear => "unclear",
            Self::Worse => "worse",
        }
    }
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Good {
    Less,
    More,
}

/// Judges a ratio (1: no change); `noise` is the smallest change that matters, as 0.05.
pub(crate) fn judge(ratio: Option<Interval>, good: Good, noise: f64) -> Word {
    let Some(ratio) = ratio else { return Word::Unclear };
    let matters = (ratio.estimate - 1.0).abs() > noise;
    if ratio.excludes(1.0) {
        return match (matters, (ratio.estimate > 1.0) == (good == Good::More)) {
            (false, _) => Word::NoDifference,
            (true, true) => Word::Better,
            (true, false) => Word::Worse,
        };
    }
    if (ratio.high / ratio.low).sqrt() - 1.0 > BLIND { Word::Unclear } else { Word::NoDifference }
}
