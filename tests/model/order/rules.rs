//! The model with every rule, and with each rule taken away.

use super::{ALL, Order};
use crate::search::{breaks, holds};

#[test]
fn with_every_rule_there_is_no_orphan_and_no_mix_up() {
    holds("order, all rules", &Order { expiries: 1, ..ALL });
}

#[test]
fn r7_a_release_that_overtakes_leaves_an_orphan() {
    let rules = Order { withdraws: false, ..ALL };
    breaks("order without withdraws", "orphan", &rules, 5);
}

#[test]
fn r8_a_repair_after_the_release_leaves_an_orphan() {
    let rules = Order { silent_after_release: false, ..ALL };
    breaks("order without silent_after_release", "orphan", &rules, 5);
}

#[test]
fn r8_an_extend_overtakes_its_acquire() {
    let rules = Order { extend_follows: false, ..ALL };
    breaks("order without extend_follows", "an extend ran", &rules, 4);
}

#[test]
fn r9_a_set_behind_the_seal_is_counted_uncovered() {
    let rules = Order { seal_last: false, ..ALL };
    breaks("order without seal_last", "does not cover", &rules, 8);
}

#[test]
fn r9_a_write_before_the_handshake_leaves_an_orphan() {
    let rules = Order { handshake_first: false, flushes: 0, restarts: 0, ..ALL };
    breaks("order without handshake_first", "orphan", &rules, 8);
}

#[test]
fn r11_a_token_used_again_loses_its_key() {
    let rules = Order { fresh_tokens: false, flushes: 0, expiries: 1, ..ALL };
    breaks("order without fresh_tokens", "earlier release", &rules, 12);
}

#[test]
fn fence_without_a_kill_leaves_an_orphan() {
    let rules = Order { kills: false, ..ALL };
    breaks("order without kills", "orphan", &rules, 8);
}

#[test]
fn fence_behind_the_releases_leaves_an_orphan() {
    let rules = Order { kill_first: false, ..ALL };
    breaks("order without kill_first", "orphan", &rules, 8);
}

#[test]
fn fence_without_the_gate_kills_an_innocent() {
    let rules = Order { kill_gated: false, ..ALL };
    breaks("order without kill_gated", "another client", &rules, 4);
}

#[test]
fn fence_of_the_last_connection_only_leaves_an_orphan() {
    let rules = Order { kills_all: false, ..ALL };
    breaks("order without kills_all", "orphan", &rules, 10);
}

#[test]
fn owed_releases_dropped_at_a_restart_leave_an_orphan() {
    let rules = Order { owed_through_restart: false, ..ALL };
    breaks("order without owed_through_restart", "orphan", &rules, 7);
}

/// More than an orphan: a live lease repairs its key behind the owed release, and the release that
/// the lost connection still carries deletes it after it was counted. A node that refuses KILL may
/// therefore get no top-up or repair of a token for which a release was in flight.
#[test]
fn fence_without_a_kill_deletes_the_key_of_a_holder() {
    let rules = Order { kills: false, minds_orphans: false, ..ALL };
    breaks("order without kills, live", "earlier release", &rules, 14);
}
