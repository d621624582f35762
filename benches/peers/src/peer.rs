//! Names of what is measured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Library {
    /// The raw epoll loop.
    Probe,
    /// The raw epoll loop, a release and the next acquire in one write.
    ProbeNext,
    Redlatch,
    /// The library without the seal of its writes: what that protection costs. Not safe.
    Unsealed,
    Rslock,
    Redisrs,
    Fred,
}

/// The runtime a library runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flavour {
    /// No runtime at all: the probes.
    Raw,
    /// tokio, two workers.
    MultiThread,
    /// tokio, one thread.
    CurrentThread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Peer {
    pub(crate) library: Library,
    pub(crate) flavour: Flavour,
}

const LIBRARIES: [(&str, Library); 7] = [
    ("probe", Library::Probe),
    ("probe-next", Library::ProbeNext),
    ("redlatch", Library::Redlatch),
    ("redlatch-noseal", Library::Unsealed),
    ("rslock", Library::Rslock),
    ("redisrs", Library::Redisrs),
    ("fred", Library::Fred),
];

impl Library {
    pub(crate) fn name(self) -> &'static str {
        LIBRARIES.iter().find(|(_, library)| *library == self).map_or("?", |(name, _)| name)
    }

    fn is_raw(self) -> bool {
        matches!(self, Self::Probe | Self::ProbeNext)
    }
}

impl Peer {
    pub(crate) const PROBE: Self = Self { library: Library::Probe, flavour: Flavour::Raw };

    /// `rslock` names both flavours, `rslock-ct` one.
    pub(crate) fn parse_group(text: &str) -> Result<Vec<Self>, String> {
        if let Ok(peer) = text.parse() {
            return Ok(vec![peer]);
        }
        match LIBRARIES.iter().find(|(name, _)| *name == text) {
            Some(&(_, library)) => Ok(vec![
                Self { library, flavour: Flavour::MultiThread },
                Self { library, flavour: Flavour::CurrentThread },
            ]),
            None => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> String {
    format!(
        "unknown peer `{text}`: use probe, probe-next, redlatch, redlatch-noseal, rslock, \
         redisrs or fred, the last five also with -mt or -ct"
    )
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.flavour {
            Flavour::Raw => "",
            Flavour::MultiThread => "-mt",
            Flavour::CurrentThread => "-ct",
        };
        f.pad(&format!("{}{suffix}", self.library.name()))
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, flavour) = if let Some(name) = text.strip_suffix("-mt") {
            (name, Flavour::MultiThread)
        } else if let Some(name) = text.strip_suffix("-ct") {
            (name, Flavour::CurrentThread)
        } else {
            (text, Flavour::Raw)
        };
        match LIBRARIES.iter().find(|(known, _)| *known == name) {
            Some(&(_, library)) if library.is_raw() == (flavour == Flavour::Raw) => {
                Ok(Self { library, flavour })
            }
            _ => Err(unknown(text)),
        }
    }
}

impl TryFrom<String> for Peer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> Self {
        peer.to_string()
    }
}
