//! The engine's Lua scripts as the server would run them, written in Rust.
//!
//! Known by their digests alone: the node has no Lua. A script added to `algorithm::script` needs
//! its meaning here, and joins the comparison with a real server. Error texts and the effects that
//! remain after an error are those of redis-server 7.0.15.

use crate::algorithm::script::{ALL, EXTEND, RELEASE, Script};

use super::store::Store;

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

/// The database, the keys and the arguments of one call.
#[derive(Debug)]
pub(super) struct Invocation<'a> {
    pub(super) store: &'a mut Store,
    pub(super) db: usize,
    pub(super) now_ms: i64,
    pub(super) keys: &'a [&'a [u8]],
    pub(super) argv: &'a [&'a [u8]],
}

/// One letter per key, or the text of an error.
pub(super) type Outcome = Result<Vec<u8>, String>;

/// Runs a loaded script.
pub(super) fn run(script: &Script, call: &mut Invocation<'_>) -> Outcome {
    let outcome = match script.sha {
        sha if sha == RELEASE.sha => release(call),
        sha if sha == EXTEND.sha => extend(call),
        _ => Err(("ERR the test node has no meaning for this script", 1)),
    };
    outcome
        .map_err(|(text, line)| format!("{text} script: {}, on @user_script:{line}.", script.sha))
}

/// An error's text and the line of the script that raised it.
type Raised = (&'static str, u32);

fn release(call: &mut Invocation<'_>) -> Result<Vec<u8>, Raised> {
    if call.keys.is_empty() {
        return Err(("ERR Wrong number of args calling Redis command from script", 4));
    }
    // All keys are read before the first is deleted: a key named twice answers the same twice.
    let mut letters = Vec::with_capacity(call.keys.len());
    for (index, key) in call.keys.iter().enumerate() {
        letters.push(match call.store.get(call.db, key, call.now_ms) {
            None => b'm',
            Some(entry) if call.argv.get(index) == Some(&&*entry.value) => b'd',
            Some(_) => b'o',
        });
    }
    for (key, letter) in call.keys.iter().zip(&letters) {
        if *letter == b'd' {
            call.store.remove(call.db, key, call.now_ms);
        }
    }
    Ok(letters)
}

fn extend(call: &mut Invocation<'_>) -> Result<Vec<u8>, Raised> {
    let mut letters = Vec::with_capacity(call.keys.len());
    for (index, key) in call.keys.iter().enumerate() {
        let Some(entry) = call.store.get(call.db, key, call.now_ms) else {
            letters.push(b'm');
            continue;
        };
        if call.argv.get(index * 2) != Some(&&*entry.value) {
            letters.push(b'o');
            continue;
        }
        let left_ms = entry.ttl_ms(call.now_ms).unwrap_or(-1);
        let wanted = call.argv.get(index * 2 + 1).and_then(|text| lua_number(text));
        let wanted = wanted.ok_or(("ERR user_script:9: attempt to compare number with nil", 9))?;
        if as_lua(left_ms) < wanted {
            let ttl_ms =
                as_argument(wanted).ok_or(("ERR value is not an integer or out of range", 9))?;
            let deadline_ms = call.now_ms.saturating_add(ttl_ms);
            call.store.expire_at(call.db, key, deadline_ms, call.now_ms);
        }
        letters.push(b'e');
    }
    Ok(letters)
}

/// Lua's `tonumber`, without its hexadecimal spellings.
fn lua_number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.trim_ascii().parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "every number in Lua is a double")]
fn as_lua(value: i64) -> f64 {
    value as f64
}

/// How a script passes a number to a command: with 17 digits, so whole numbers below 1e17 arrive
/// as integers and all others are refused.
fn as_argument(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 1e17).then(|| format!("{value:.0}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_of_the_engine_has_a_meaning() {
        for script in ALL {
            let mut store = Store::new();
            let mut call =
                Invocation { store: &mut store, db: 0, now_ms: 0, keys: &[b"k"], argv: &[b"t"] };
            assert_eq!(run(script, &mut call).as_deref(), Ok(b"m".as_slice()), "{}", script.body);
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
