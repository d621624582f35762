//! What made-up looks at made-up nodes say about holders.

use super::*;
use crate::config::RunConfig;
use crate::mode::{Claim, Mode};
use crate::oracle::judge::{Entry as Entering, Oracle};
use crate::scratch::Scratch;

/// Holders of one name, by their clients, who are inside since the instant 10.
fn holders(class: Class, clients: &[u32]) -> Vec<Holder> {
    let dir = Scratch::new("sight").unwrap();
    let mode = if class == Class::Exclusive { Mode::Mutex } else { Mode::Shared(50.0) };
    let config = RunConfig { mode, ..RunConfig::for_tests() };
    let oracle = Oracle::create(&dir.path().join("cells"), &config).unwrap();
    let enter = |&client| {
        let entry = Entering {
            client,
            generation: 1,
            called_ns: 5,
            contended: false,
            token: 0,
            begin_ns: 10,
            end_ns: 100,
        };
        oracle.enter_all(&[Claim { cell: 0, class }], 0, entry)
    };
    let _inside: Vec<_> = clients.iter().map(enter).collect();
    oracle.inside(0, 9, 20).0
}

/// A look, by one word per node: tokens of exclusive owners, `s:` readers with commas between, `-`
/// nobody, `?` no answer, and with `~` in front a node that may have forgotten.
fn look(words: &str) -> Vec<Option<View>> {
    let entry = |word: &str| match word.strip_prefix("s:") {
        Some(token) => Entry { token: token.to_owned(), access: Access::Shared },
        None => Entry { token: word.to_owned(), access: Access::Exclusive },
    };
    let view = |word: &str| {
        let plain = word.trim_start_matches('~');
        let sure_since_ns = if plain == word { 10 } else { 11 };
        let owners = plain.split(',').filter(|word| *word != "-").map(entry).collect();
        (plain != "?").then(|| View { sure_since_ns, names: vec![owners] })
    };
    words.split(' ').map(view).collect()
}

/// Tokens of process 0 begin with `a`, those of process 1 with `b`.
fn judged(holders: &[Holder], first: &str, second: &str) -> (Sight, Vec<NodeSight>) {
    let owners = ["a", "b"].map(|owner| Some(owner.to_owned()));
    let (first, second) = (look(first), look(second));
    Looks { rounds: [&first, &second], name: 0, owners: &owners }.judge(holders)
}

#[test]
fn one_token_on_a_quorum_backs_the_holder_and_fewer_do_not() {
    let one = holders(Class::Exclusive, &[0]);
    let says = |words| judged(&one, words, words).0;
    assert_eq!(says("a1 a1 a1 - -"), Sight::Backed);
    assert_eq!(says("a1 a1 a1 b1 b1"), Sight::Backed, "others have a minority");
    assert_eq!(says("a1 a1 - - -"), Sight::Unbacked);
    assert_eq!(says("a1 a1 a2 a2 -"), Sight::Unbacked, "two tokens are not one");
    assert_eq!(says("- - - - -"), Sight::Unbacked);
    assert_eq!(
        judged(&one, "a1 a1 a1 - -", "- a1 a1 a1 -").0,
        Sight::Unbacked,
        "not the same three"
    );
    let (_, nodes) = judged(&one, "a1 a1 ? - b1", "a1 a2 a1 - b1");
    use NodeSight::{Held, Missing, Once, Other, Unknown};
    assert_eq!(nodes, [Held, Other, Unknown, Missing, Other]);
    let (_, nodes) = judged(&one, "a1 - b1 - a1", "- a1 - b1 b1");
    assert_eq!(nodes, [Once, Once, Other, Other, Other], "it came or went between the looks");
}

#[test]
fn nodes_that_are_silent_or_may_have_forgotten_are_held_against_nobody() {
    let one = holders(Class::Exclusive, &[0]);
    let says = |words| judged(&one, words, words).0;
    assert_eq!(says("a1 a1 ? - -"), Sight::Unknown, "it may be on the silent one");
    assert_eq!(says("a1 ? - - -"), Sight::Unbacked, "one cannot make up for two");
    assert_eq!(says("? ? ? ? ?"), Sight::Unknown);
    assert_eq!(says("a1 a1 ~- - -"), Sight::Unknown);
    assert_eq!(says("a1 a1 ~a1 - -"), Sight::Backed, "what it shows counts");
    assert_eq!(judged(&one, "a1 a1 a1 - -", "a1 a1 ? - -").0, Sight::Unknown);
}

#[test]
fn a_quorum_with_another_holder_is_a_violation_and_one_that_forgot_is_not() {
    let one = holders(Class::Exclusive, &[0]);
    let says = |words| judged(&one, words, words).0;
    assert_eq!(says("b1 b1 b1 a1 a1"), Sight::OtherHolder);
    assert_eq!(says("b1 b1 a1 a1 -"), Sight::Unbacked, "no quorum of anybody");
    assert_eq!(says("~b1 ~b1 ~b1 a1 a1"), Sight::Unknown);
    assert_eq!(judged(&one, "a1 a1 a1 - -", "a2 a2 a2 - -").0, Sight::OtherHolder, "it changed");
    assert_eq!(judged(&one, "a1 a1 a1 - -", "b2 b2 b2 - -").0, Sight::OtherHolder);
    assert_eq!(says("s:a1 s:a1 s:a1 - -"), Sight::OtherHolder, "readers beside a writer");
    let theirs = holders(Class::Exclusive, &[1]);
    assert_eq!(judged(&theirs, "b1 b1 b1 - -", "b1 b1 b1 - -").0, Sight::Backed);
}

#[test]
fn without_knowing_the_tokens_of_a_process_a_change_is_still_seen() {
    let one = holders(Class::Exclusive, &[0]);
    let says = |first: &str, second: &str| {
        let (first, second) = (look(first), look(second));
        Looks { rounds: [&first, &second], name: 0, owners: &[None] }.judge(&one).0
    };
    assert_eq!(says("b1 b1 b1", "b1 b1 b1"), Sight::Backed, "whose it is, nobody knows");
    assert_eq!(says("b1 b1 b1", "b2 b2 b2"), Sight::OtherHolder);
    assert_eq!(says("b1 - -", "b1 - -"), Sight::Unbacked);
}

#[test]
fn readers_need_as_many_tokens_of_their_process_as_they_are() {
    // Clients 0 and 2 are of process 0, client 1 is of process 1.
    let three = holders(Class::Shared, &[0, 1, 2]);
    assert_eq!(three.len(), 3);
    let says = |words: &str| judged(&three, words, words).0;
    let all = "s:a1,s:a2,s:b1";
    assert_eq!(says(&format!("{all} {all} -")), Sight::Backed);
    assert_eq!(says(&format!("{all} s:a1,s:b1 s:a2,s:b1")), Sight::Backed, "different quorums");
    assert_eq!(says(&format!("{all} s:a1,s:b1 -")), Sight::Unbacked, "a2 is on one node");
    assert_eq!(says(&format!("{all} s:a1,s:b1 ?")), Sight::Unknown);
    assert_eq!(says("s:a1,s:b1,s:b2 s:a1,s:b1,s:b2 -"), Sight::Unbacked, "of another process");
    assert_eq!(says("b1 b1 s:a1"), Sight::OtherHolder, "a writer beside readers");
}
