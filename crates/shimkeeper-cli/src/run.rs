// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper run`: one container from the command line to its end, without a daemon.
//!
//! ```text
//! args ─ spec ─ dirs ─┬─ session: create ─ start ─ supervise ─ drain ─ delete ─┬─ dirs removed ─ report
//!                     └─ whatever fails in between is undone and told at the end ┘
//! ```
//! This file owns the order. What is told, and the exit code, is collected in the [`Report`].

mod dirs;
pub(crate) mod environment;
pub(crate) mod mounts_arg;
pub(crate) mod report;
pub(crate) mod session;
pub(crate) mod spec;
pub(crate) mod units;

use shimkeeper_core::{Kind, TaskKey};

use crate::args::{DEFAULT_RUNTIME, RunArgs};
use crate::failure::{EXIT_FAILURE, Failure, say};
use crate::foreground::signals::Signals;
use crate::foreground::terminal;
use crate::private_dirs::{PREFIX, unique_name};
use dirs::RunDirs;
use report::{Report, Reporter};
use session::Plan;

pub(crate) const ID_HINT: &str = "use letters and digits, joined by single '.', '_' or '-', 76 at most";

/// Runs a container; answers the exit code.
pub(crate) async fn run(args: &RunArgs) -> u8 {
    let reporter = match Reporter::open(&args.report) {
        Ok(reporter) => reporter,
        Err(failure) => {
            failure.print();
            return EXIT_FAILURE;
        }
    };
    // The container's id, unless it was given one, and its private directory.
    let unique = unique_name(PREFIX);
    let id = args.name.as_deref().unwrap_or(&unique);
    let runtime = args.runtime.name();
    let mut report = Report::new(&args.namespace, id, runtime, args.runtime.runtime_binary.as_deref());
    let mut failures = Vec::new();
    if let Err(failure) = execute(args, id, &unique, &mut report, &mut failures).await {
        failures.insert(0, failure);
    }
    if let Some(first) = failures.first() {
        report.failure(first);
    }
    reporter.finish(&report, &failures);
    report.exit_code()
}

/// What fails on the way out, when the outcome is known already, goes to `later`.
async fn execute(
    args: &RunArgs,
    id: &str,
    unique: &str,
    report: &mut Report,
    later: &mut Vec<Failure>,
) -> Result<(), Failure> {
    let key = &TaskKey::parse(&args.namespace, id).map_err(|error| Failure::of(&error, Some(ID_HINT)))?;
    may_run(rustix::process::geteuid().is_root(), args)?;
    let spec = spec::prepare(args, key, terminal::size())?;
    terminal::may_type(spec.terminal && args.interactive)?;
    // From here on no signal ends us half-way; what arrives before the start is delivered after it.
    let signals = Signals::of_process()?;
    let mut dirs = RunDirs::prepare(&args.runtime, unique)?;
    let manager = dirs.open(args.report.debug).await?;
    let plan = Plan { args, key, spec };
    let outcome = session::run(&manager, &plan, signals, report, later).await;
    let keep = args.runtime.no_cleanup;
    if keep {
        say(&format!("kept: state {}, root {}", dirs.state.display(), dirs.root.display()), None);
    }
    if let Err(failure) = dirs.close(manager, keep).await {
        later.push(failure);
    }
    outcome
}

/// runc makes cgroups and namespaces, for which it has to be root; a runtime that was chosen is taken at its word.
fn may_run(is_root: bool, args: &RunArgs) -> Result<(), Failure> {
    if is_root || args.runtime.runtime.is_some() {
        return Ok(());
    }
    let what = format!("the default runtime {DEFAULT_RUNTIME} has to be run as root");
    let hint = "use sudo, or name a runtime that works without root with --runtime";
    Err(Failure::new(Kind::PermissionDenied, what, hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    #[test]
    fn only_a_chosen_runtime_may_do_without_root() {
        let args = |more: &[&str]| {
            let words = ["shimkeeper", "run", "--rootfs", "/r"].iter().chain(more);
            match Cli::try_parse_from(words).unwrap().command {
                Command::Run(args) => args,
                _ => unreachable!("the word is run"),
            }
        };
        assert!(may_run(true, &args(&[])).is_ok());
        assert!(may_run(false, &args(&["--runtime", "io.containerd.kata.v2"])).is_ok());
        let failure = may_run(false, &args(&[])).unwrap_err();
        assert!(failure.hint.unwrap().contains("--runtime"));
    }

    #[test]
    fn names_are_ids_and_differ() {
        let names = [unique_name(PREFIX), unique_name(PREFIX)];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert_eq!(name.len(), 12);
            name.parse::<shimkeeper_core::TaskId>().unwrap();
        }
    }
}
