// SPDX-License-Identifier: Apache-2.0
//! What must be true after every fault, whatever it was. One oracle for all suites: fake shims and real ones, in one
//! process or over many that were killed.
//!
//! | | invariant | asked of |
//! |---|---|---|
//! | I2 | no call takes longer than its deadline and a second | [`in_time`] |
//! | I3 | every container that runs is listed | [`Inits`] |
//! | I4 | nothing is killed unless somebody asked or its shim is dead | [`Living`], [`Inits`] |
//! | I5 | every started process has exactly one exit, in order, and a task one deletion | [`Lives`], [`complete`] |
//! | I7 | nothing is left that nobody owns | [`nothing_left`], [`Leftovers`](crate::Leftovers) |
//! | I8 | descriptors, threads and memory come back to where they were | [`Usage`] |
//! | I10 | a refusal has a kind and one short line | [`refusal`] |
//!
//! The rest is what a suite does itself: that others are served meanwhile (I1), that an id can be used again (I6), and
//! that opening twice gives the same list (I9).

mod life;
mod lives;
mod living;
mod refusal;
mod residue;
mod usage;

pub use life::{Seen, word};
pub use lives::{Lives, Violation, complete};
pub use living::{Inits, Living, in_time};
pub use refusal::refusal;
pub use residue::{Trace, leftovers, nothing_left, sweep};
pub use usage::Usage;
