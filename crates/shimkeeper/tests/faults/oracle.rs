// SPDX-License-Identifier: Apache-2.0
//! The testkit's oracle, asked of one bench.

use shimkeeper::Error;
use shimkeeper_testkit::{TestDirs, oracle};

pub(crate) use shimkeeper_testkit::oracle::{Seen, complete, leftovers};

/// Nothing but the manager is left.
#[track_caller]
pub(crate) fn nothing_left(dirs: &TestDirs) {
    oracle::nothing_left(dirs, &[]);
}

/// A refusal says what it is, and what to do next.
#[track_caller]
pub(crate) fn refusal(error: &Error) {
    oracle::refusal(error, error.hint());
}
