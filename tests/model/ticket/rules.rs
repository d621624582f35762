//! The model with every rule, and with each rule taken away.

use super::{Compare, Pass, TTL, Tickets, Vote};
use crate::search::{breaks, holds};

type One = Tickets<1>;
type Three = Tickets<3>;

/// A has the first and the last node, B asks the first two, Y the last two: each two share one.
const RING: [u8; 3] = [TTL, 0, TTL];

#[test]
fn with_every_rule_one_node_never_counts_for_two() {
    holds("ticket, one node", &One { faults: 4, ..One::ALL });
}

#[test]
fn with_every_rule_a_lock_is_passed_to_one() {
    holds("ticket, all rules", &Three { starts: RING, ..Three::ALL });
}

#[test]
fn with_every_rule_a_lock_is_passed_to_one_whatever_the_holder_has() {
    for starts in [[2, 2, 2], [2, 1, 2], [1, 2, 2], [2, 2, 0], [0, 1, 2], [1, 2, 0]] {
        holds("ticket, no fault", &Three { starts, ..Three::CALM });
    }
}

#[test]
fn with_every_rule_a_lock_is_given_to_one() {
    holds("given, one node", &One { pass: Pass::Gives, faults: 3, ..One::ALL });
    let rules = Three { pass: Pass::Gives, confirms_found: false, ..Three::ALL };
    holds("given, one fault", &Three { starts: RING, ..rules });
    for starts in [[2, 2, 2], [2, 1, 2], [1, 2, 2], [2, 2, 0], [0, 1, 2], [1, 2, 0]] {
        holds("given, no fault", &Three { pass: Pass::Gives, starts, ..Three::CALM });
    }
}

#[test]
fn r10_a_word_that_counts_from_its_hearing_lets_two_in() {
    let rules = Three { pass: Pass::GivesAtHearing, ..Three::CALM };
    breaks("word from its hearing", "successor and another", &rules, 10);
}

#[test]
fn r10_a_word_of_a_reservation_taken_for_more_lets_two_in() {
    let rules = Three { pass: Pass::GivesTooLittle, ..Three::CALM };
    breaks("word of a reservation", "successor and another", &rules, 10);
}

#[test]
fn r10_a_word_counted_in_quarantine_lets_two_in() {
    let rules = Three { pass: Pass::Gives, quarantine: false, starts: RING, ..Three::ALL };
    breaks("word in quarantine", "holder and its successor", &rules, 6);
}

#[test]
fn r11_a_lock_taken_as_given_after_giving_up_lets_two_in() {
    let rules = Three { pass: Pass::Gives, only_released: false, ..Three::CALM };
    breaks("given after giving up", "successor and another", &rules, 10);
}

#[test]
fn r10_a_leave_that_does_not_compare_lets_two_in() {
    let rules = Three { compare: Compare::NotOfHolder, ..Three::CALM };
    breaks("leave without the owner", "successor and another", &rules, 10);
}

#[test]
fn r10_a_leave_in_two_steps_lets_two_in() {
    let rules = Three { compare: Compare::ReadFirst, ..Three::CALM };
    breaks("leave in two steps", "successor and another", &rules, 11);
}

#[test]
fn r10_a_waiter_that_leaves_without_comparing_lets_two_in() {
    let rules = One { compare: Compare::NotOfWaiter, ..One::CALM };
    breaks("waiter's leave without the owner", "holder and another", &rules, 3);
}

#[test]
fn r10_a_leave_before_the_guard_ended_lets_two_in() {
    let rules = Three { guard_first: false, ..Three::CALM };
    breaks("leave before the guard", "holder and", &rules, 5);
}

#[test]
fn r10_a_notification_taken_for_a_grant_lets_two_in() {
    let rules = Three { vote: Vote::Notification, ..Three::CALM };
    breaks("no confirm", "successor and another", &rules, 9);
}

#[test]
fn r10_a_ledger_taken_over_lets_two_in() {
    let rules = Three { empty_ledger: false, ..Three::CALM };
    breaks("ledger of the old holder", "successor and another", &rules, 9);
}

#[test]
fn r10_a_vote_that_counts_from_its_answer_lets_two_in() {
    let rules = Three { vote: Vote::AtAnswer, ..Three::CALM };
    breaks("from the answer", "successor and another", &rules, 10);
}

#[test]
fn r10_a_confirm_that_does_not_compare_the_owner_lets_two_in() {
    let rules = Three { confirm_owner: false, ..Three::CALM };
    breaks("confirm without the owner", "successor and another", &rules, 11);
}

#[test]
fn r10_scripts_that_ignore_the_epoch_lets_two_in() {
    let rules = Three { script_epoch: false, starts: RING, ..Three::ALL };
    breaks("scripts without the epoch", "holder and its successor", &rules, 5);
}

#[test]
fn r10_an_answer_counted_in_quarantine_lets_two_in() {
    let rules = Three { quarantine: false, starts: RING, ..Three::ALL };
    breaks("answer in quarantine", "holder and its successor", &rules, 6);
}

#[test]
fn r11_a_reservation_taken_after_giving_up_lets_two_in() {
    let rules = Three { only_released: false, ..Three::CALM };
    breaks("taken after giving up", "successor and another", &rules, 10);
}

#[test]
fn r11_a_ticket_with_the_token_of_an_attempt_lets_two_in() {
    let rules = Three { fresh_ticket: false, ..Three::CALM };
    breaks("token of an attempt", "successor and another", &rules, 9);
}

#[test]
fn r12_a_guard_taken_back_lets_two_in() {
    let rules = Three { stays_ended: false, ..Three::CALM };
    breaks("guard taken back", "holder and", &rules, 6);
}
