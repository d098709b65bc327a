// SPDX-License-Identifier: Apache-2.0
//! In which form a command tells its result: the choice is the same for all of them.

use clap::ValueEnum;

/// How the result is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    // Plain comments: a description of each value would turn the whole help into its long form.
    // In words; of a run only what goes wrong.
    Text,
    // One JSON object when everything is over.
    Json,
}
