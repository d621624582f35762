//! The safety protocol as explicit-state models, searched exhaustively within small bounds.
//!
//! These are models of the rules, not runs of the engine. Each model has all rules on, and then no
//! reachable state is a violation; and each rule off, one at a time, and then the search finds a
//! violation, within a stated number of steps. Each head comment says what is bounded and what is
//! left out. `cargo test --test model -- --nocapture` prints the states and the counterexamples.
//!
//! | model     | rules                           | what must not happen                         |
//! |-----------|---------------------------------|----------------------------------------------|
//! | `epoch`   | R1 to R4                        | two attempts valid at once                   |
//! | `lease`   | R5, R6                          | a hold that overlaps another                 |
//! | `order`   | R7 to R9, R11, connection fence | an orphan key; a release that hits a holder  |
//! | `handoff` | R12                             | two valid guards of one lease                |
//! | `ticket`  | R10, R11, R12                   | holder, successor and another valid at once  |
//! | `fencing` | protocol F1                     | a token that is repeated or does not grow    |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests: a panic is a failure, and they print what they searched"
)]

mod epoch;
mod fencing;
mod handoff;
mod lease;
mod order;
mod search;
mod ticket;
mod watch;
