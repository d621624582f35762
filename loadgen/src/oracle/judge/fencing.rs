//! The judge of fencing tokens: of two grants of one name, the later one has the larger token.
//!
//! Each name has one word, the highest token granted so far in any process. A token is judged
//! against it at two instants, so that no delay of the judge's own is taken for a fault of the
//! lock:
//!
//! 1. A token that is not above what had been granted *before it was asked for* is wrong,
//!    whatever has happened to its lock meanwhile.
//! 2. A token that is below what was granted *until now* is wrong while its own lock is still
//!    valid: nobody can have got a later grant. A lock that is not valid any more may have been
//!    replaced before this judge came to it.
//! 3. A token that equals another one is always wrong.

use std::sync::atomic::Ordering;

use super::Oracle;

/// Words of the header.
const CHECKED: usize = 5;
const VIOLATIONS: usize = 6;
const HIGHEST: usize = 7;
/// Of a name's cell: its highest token.
const FIELD: usize = 5;

/// What the tokens of a run were like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Grants whose token was judged.
    pub(crate) checked: u64,
    pub(crate) violations: u64,
    /// Of all names.
    pub(crate) highest: u64,
}

impl Oracle {
    /// The highest token of `key` so far, 0 before the first.
    pub(crate) fn highest_token(&self, key: u64) -> u64 {
        self.cell(key, FIELD).load(Ordering::Acquire)
    }

    /// Judges the token of a grant. `floor` is [`Oracle::highest_token`] from before it was asked
    /// for; `valid` says whether its lock still holds.
    pub(crate) fn check_token(&self, key: u64, token: u64, floor: u64, valid: impl Fn() -> bool) {
        let before = self.cell(key, FIELD).fetch_max(token, Ordering::AcqRel);
        self.word(HIGHEST).fetch_max(token, Ordering::Relaxed);
        self.word(CHECKED).fetch_add(1, Ordering::Relaxed);
        if token <= floor || token == before || (token < before && valid()) {
            self.word(VIOLATIONS).fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What was found so far.
    pub(crate) fn tokens(&self) -> Tokens {
        let word = |at| self.word(at).load(Ordering::Acquire);
        Tokens { checked: word(CHECKED), violations: word(VIOLATIONS), highest: word(HIGHEST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::scratch::Scratch;

    /// Judges `(key, token, floor, valid)` one after the other; the violations after each.
    fn judged(grants: &[(u64, u64, u64, bool)]) -> (Vec<u64>, Tokens) {
        let dir = Scratch::new("tokens").unwrap();
        let path = dir.path().join("cells");
        let ours = Oracle::create(&path, &RunConfig::for_tests()).unwrap();
        let theirs = Oracle::open(&path, &RunConfig::for_tests()).unwrap();
        let judge = |(at, &(key, token, floor, valid)): (usize, &(u64, u64, u64, bool))| {
            // As two processes do, in turn.
            let oracle = if at % 2 == 0 { &ours } else { &theirs };
            oracle.check_token(key, token, floor, || valid);
            oracle.tokens().violations
        };
        let violations = grants.iter().enumerate().map(judge).collect();
        (violations, theirs.tokens())
    }

    #[test]
    fn growing_tokens_are_lawful_and_names_are_apart() {
        let (violations, tokens) =
            judged(&[(0, 5, 0, true), (1, 3, 0, true), (0, 9, 5, true), (1, 4, 3, false)]);
        assert_eq!(violations, [0; 4]);
        assert_eq!(tokens, Tokens { checked: 4, violations: 0, highest: 9 });
    }

    #[test]
    fn a_token_that_does_not_grow_is_found_across_processes() {
        let grants = [(0, 5, 0, true), (0, 4, 0, true), (0, 6, 5, true), (0, 6, 5, false)];
        assert_eq!(judged(&grants).0, [0, 1, 1, 2], "smaller while valid, then equal");
        let late = [(0, 5, 0, true), (0, 4, 5, false)];
        assert_eq!(judged(&late).0, [0, 1], "asked for when 5 had been granted");
    }

    #[test]
    fn a_judge_that_comes_late_blames_nobody() {
        // 4 was granted and ran out, 5 was granted, and the judge heard of 5 first.
        assert_eq!(judged(&[(0, 5, 0, true), (0, 4, 3, false)]).0, [0, 0]);
    }
}
