// SPDX-License-Identifier: Apache-2.0
//! The measuring harness behind `cargo xtask bench`: our daemon beside containerd's, doing the same in turns; and the
//! library alone, beside the same shim driven by hand. What the figures mean is in `docs/performance.md`.
//!
//! Needs root, runc (or another OCI runtime) and a shim of runc's; it leaves nothing behind.

mod adopt_once;
mod adoption;
mod against;
mod args;
mod bare;
mod bare_once;
mod by_hand;
mod by_library;
mod error;
mod floor;
mod measure;
mod orphans;
mod phase;
mod report;
mod site;
mod soak;
mod stats;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use shimkeeper_core::chain;

use crate::args::{Alone, Args};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    match &args.alone {
        None => against::run(&args.comparison)?,
        Some(Alone::Floor(options)) => floor::run(options)?,
        Some(Alone::Soak(options)) => soak::run(options)?,
        Some(Alone::Adoption(options)) => adoption::run(options)?,
        Some(Alone::AdoptOnce(options)) => adopt_once::run(options)?,
        Some(Alone::BareOnce(options)) => bare_once::run(options)?,
    }
    Ok(())
}
