// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper run` against real shims and runtimes: what a user sees, from the outside.
//!
//! These need root, the root filesystem and the shims of `cargo xtask deps`; without them they fail and say so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod container;
mod outcome;
mod real_bad_input;
mod real_cleanup;
mod real_many;
mod reporting;
mod runtimes;
mod sources;
mod streams;
mod support;
mod terminal;
