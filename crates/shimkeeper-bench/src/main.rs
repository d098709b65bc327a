// SPDX-License-Identifier: Apache-2.0
//! The measuring harness behind `cargo xtask bench`: what the library costs beside the same shim driven by hand,
//! and whether it keeps anything. What the figures mean is in `docs/performance.md`.
//!
//! Needs root, runc (or another OCI runtime) and a shim of runc's; it leaves nothing behind.

mod adoption;
mod args;
mod by_hand;
mod by_library;
mod error;
mod lifecycle;
mod measure;
mod orphans;
mod phase;
mod report;
mod restart;
mod site;
mod soak;
mod stats;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Scenario};
use crate::error::BenchError;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {}", error.in_full());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), BenchError> {
    match &args.scenario {
        Scenario::Lifecycle(options) => lifecycle::run(options),
        Scenario::Soak(options) => soak::run(options),
        Scenario::Adoption(options) => adoption::run(options),
        Scenario::Restart(options) => restart::run(options),
    }
}

/// Prints one block of a report as soon as it is known.
fn say(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| BenchError::io("write the report", e))
}
