// SPDX-License-Identifier: Apache-2.0
//! All of the project's automation, one sub-command each. CI types what a contributor types.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to whoever typed it"
)]

mod bench;
mod ci;
mod demo;
mod deps;
mod r#gen;
mod leaks;
mod package;
mod shell;
mod steps;
mod storm;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};

use deps::Need;
use workspace::Workspace;

/// Everything one does in this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a container on a real shim and say what there was to see
    Demo,
    /// Run every test, then look for what was left behind
    Test {
        /// For the test runner: a filter, an option
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Break real shims and kill their manager, for as long as you like
    Storm {
        /// How long: seconds, or with m or h
        #[arg(long = "for", default_value = "60")]
        duration: String,
        /// The same weather again
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Check everything that must hold before a change lands
    Ci,
    /// Make the protobuf sources from the files in /proto
    Gen {
        /// Change nothing; fail when they are not what would be made
        #[arg(long)]
        check: bool,
    },
    /// Make the Debian package
    Package {
        /// Make one quickly, install it out of everybody's sight, and start the daemon from it
        #[arg(long)]
        check: bool,
    },
    /// Check the rules that no compiler knows
    Tidy,
    /// Measure: the arguments go to the harness (try `--help`)
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make what the demo and the tests need; does nothing when it is there
    Deps {
        /// Also the shims of other containerd generations
        #[arg(long)]
        tests: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    let workspace = Workspace::load()?;
    match verb {
        Verb::Demo => demo::run(&workspace),
        Verb::Test { arguments } => test::run(&workspace, &arguments),
        Verb::Storm { duration, seed } => storm::run(&workspace, &duration, seed),
        Verb::Ci => ci::run(&workspace),
        Verb::Gen { check } => r#gen::run(&workspace, check),
        Verb::Package { check: true } => package::check(&workspace),
        Verb::Package { check: false } => package::run(&workspace),
        Verb::Tidy => tidy::run(&workspace),
        Verb::Bench { arguments } => bench::run(&workspace, &arguments),
        Verb::Deps { tests } => deps(&workspace, if tests { Need::Tests } else { Need::Demo }),
    }
}

fn deps(workspace: &Workspace, need: Need) -> Result<()> {
    let started = Instant::now();
    let directory = deps::ensure(workspace, need)?;
    println!("deps: everything is in {} ({} ms)", directory.display(), started.elapsed().as_millis());
    Ok(())
}
