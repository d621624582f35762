//! The engine's Lua scripts as the server would run them, written in Rust.
//!
//! Known by their digests alone: the node has no Lua. A script added to `algorithm::script` needs
//! its meaning here, and joins the comparison with a real server. Error texts and the effects that
//! remain after an error are those of redis-server 7.0.15; the line that an error names is the
//! script's.

mod hash;
mod host;
mod locks;
mod modes;
mod queue;
mod stamp;

use crate::algorithm::script::{
    ALL, CONFIRM, DROP, ENTER, EXTEND, FENCED, KEEP, LEAVE, RAISE, RELEASE, STAMP, Script, TAKE,
};

pub(super) use self::host::Invocation;
use self::host::Raised;
pub(super) use self::stamp::open;

/// Which of the scripts a node has loaded, by their place in [`ALL`].
#[derive(Debug, Default)]
pub(super) struct Loaded([bool; ALL.len()]);

impl Loaded {
    /// Loads the script with this text; `None` for a text that is not the engine's.
    pub(super) fn load(&mut self, body: &[u8]) -> Option<&'static Script> {
        let place = ALL.iter().position(|script| script.body.as_bytes() == body)?;
        *self.0.get_mut(place)? = true;
        ALL.get(place).copied()
    }

    /// The loaded script with this digest, in either case.
    pub(super) fn find(&self, sha: &[u8]) -> Option<&'static Script> {
        let known = ALL.iter().zip(self.0);
        let mut loaded = known.filter(|(_, loaded)| *loaded).map(|(script, _)| *script);
        loaded.find(|script| script.sha.as_bytes().eq_ignore_ascii_case(sha))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What a script returns.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Array(Vec<Self>),
    Bulk(Vec<u8>),
    Integer(i64),
    Nil,
}

/// A script's answer, or the text of an error.
pub(super) type Outcome = Result<Answer, String>;

/// Runs a loaded script.
pub(super) fn run(script: &Script, call: &mut Invocation<'_>) -> Outcome {
    let outcome = match script.sha {
        sha if sha == RELEASE.sha => locks::release(call),
        sha if sha == EXTEND.sha => locks::extend(call),
        sha if sha == FENCED.sha => locks::fenced(call),
        sha if sha == RAISE.sha => locks::raise(call),
        sha if sha == TAKE.sha => modes::take(call),
        sha if sha == KEEP.sha => modes::keep(call),
        sha if sha == DROP.sha => modes::release(call),
        sha if sha == STAMP.sha => stamp::stamp(call),
        sha if sha == ENTER.sha => queue::enter(call),
        sha if sha == LEAVE.sha => queue::leave(call),
        sha if sha == CONFIRM.sha => queue::confirm(call),
        _ => Err(Raised::Returned("ERR the test node has no meaning for this script")),
    };
    outcome.map_err(|raised| match raised {
        Raised::At(line, text) => {
            format!("{text} script: {}, on @user_script:{line}.", script.sha)
        }
        Raised::Returned(text) => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NodeCore, Options};

    #[test]
    fn every_script_of_the_engine_has_a_meaning() {
        for script in ALL {
            let mut node = NodeCore::new(Options::new());
            let session = node.connect("test:1");
            let mut call = Invocation::new(&mut node, &session, &[], &[]);
            let outcome = run(script, &mut call);
            if script.sha == DROP.sha {
                assert_eq!(outcome, Ok(Answer::Bulk(b"d".to_vec())), "nothing was not held");
                continue;
            }
            let outcome = outcome.unwrap_err();
            // Each asks for a key first, or makes an argument of it.
            let (text, place) = outcome.split_once(" script: ").unwrap();
            let reasons = ["Wrong number of args", "command arguments", "attempt to concatenate"];
            assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
            assert!(place.starts_with(script.sha), "{outcome}");
        }
    }

    #[test]
    fn a_script_is_known_only_after_it_was_loaded() {
        let mut loaded = Loaded::default();
        let upper = RELEASE.sha.to_uppercase();
        assert!(loaded.find(upper.as_bytes()).is_none());
        assert!(loaded.load(b"return 1").is_none());
        assert_eq!(loaded.load(RELEASE.body.as_bytes()).unwrap().sha, RELEASE.sha);
        assert_eq!(loaded.find(upper.as_bytes()).unwrap().sha, RELEASE.sha);
        assert!(loaded.find(EXTEND.sha.as_bytes()).is_none());
        loaded.clear();
        assert!(loaded.find(upper.as_bytes()).is_none());
    }
}
