//! The manual: pages of prose, for reading in the documentation. There is no code here.
//!
//! | page | answers |
//! |---|---|
//! | [`safety`] | what holds, on which assumptions, and what is not guaranteed |
//! | [`attacks`] | what the tests do to locks, by number |
//! | [`tuning`] | what every knob means, and when to turn it |
//! | [`contention`] | what to lock, how to wait, what to do when it is busy |
//! | [`deployment`] | how to run nodes that locks can rely on |
//! | [`modes`] | readers, several resources at once, hierarchies, permits |
//! | [`architecture`] | how a lock travels through the code |
//! | [`alternatives`] | when another tool is the better one |

#[doc = include_str!("safety.md")]
pub mod safety {}

#[doc = include_str!("attacks.md")]
pub mod attacks {}

#[doc = include_str!("modes.md")]
pub mod modes {}

#[doc = include_str!("tuning.md")]
pub mod tuning {}

#[doc = include_str!("contention.md")]
pub mod contention {}

#[doc = include_str!("deployment.md")]
pub mod deployment {}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("alternatives.md")]
pub mod alternatives {}
