// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper cleanup`: what runs left that were killed themselves.
//!
//! ```text
//! every run's directory ─┬─ a live manager has it ─▶ told, not touched
//!                        └─ opened: its tasks are adopted ─┬─ all over ─▶ directory removed
//!                                                          └─ else ─────▶ left as it is
//! ```
//! This file owns the order; what becomes of one container is decided in `container.rs`.

mod container;
mod report;

use shimkeeper::{Cause, Config, LockError, Manager};

use crate::args::CleanupArgs;
use crate::client::fifos;
use crate::failure::{EXIT_FAILURE, Failure};
use crate::private_dirs::{Base, PrivateDir};
use report::{ContainerReport, Report, RunReport};

/// Who has a run's directory.
enum Holder {
    /// Another manager, of this process where its id could be read.
    Other(Option<u32>),
    /// We.
    Us(Manager),
}

/// Looks after every run's directory; answers the exit code.
pub(crate) async fn cleanup(args: &CleanupArgs) -> u8 {
    let mut report = Report::default();
    let mut failures = Vec::new();
    if let Err(failure) = execute(args, &mut report, &mut failures).await {
        failures.insert(0, failure);
    }
    failures.extend(report.print(args.output).err());
    failures.iter().for_each(Failure::print);
    if failures.is_empty() { 0 } else { EXIT_FAILURE }
}

async fn execute(
    args: &CleanupArgs,
    report: &mut Report,
    failures: &mut Vec<Failure>,
) -> Result<(), Failure> {
    let base = Base::of_user()?;
    let mut opened = Vec::new();
    {
        let _no_run_begins_or_ends = base.hold()?;
        for dir in base.list_io()? {
            if !fifos::in_use(dir.path()) {
                failures.extend(dir.discard().err());
            }
        }
        for dir in base.list()? {
            match open(&dir).await {
                Ok(holder) => opened.push((dir, holder)),
                Err(failure) => {
                    report.runs.push(RunReport::failed(&dir, Vec::new(), &failure));
                    failures.push(failure);
                }
            }
        }
    }
    for (dir, holder) in opened {
        let run = match holder {
            Holder::Other(pid) => RunReport::in_use(&dir, pid),
            Holder::Us(manager) => look_after(args, &base, &dir, manager, failures).await,
        };
        report.runs.push(run);
    }
    report.runs.sort_unstable_by(|a, b| a.directory.cmp(&b.directory));
    Ok(())
}

async fn open(dir: &PrivateDir) -> Result<Holder, Failure> {
    match Box::pin(Manager::open(Config::new(dir.state(), dir.root()).without_journal())).await {
        Ok(manager) => Ok(Holder::Us(manager)),
        Err(error) => match error.cause() {
            Cause::Lock(LockError::Held { holder, .. }) => Ok(Holder::Other(*holder)),
            _ => Err(Failure::of_library(&error)),
        },
    }
}

/// Everything that can be done about one run.
async fn look_after(
    args: &CleanupArgs,
    base: &Base,
    dir: &PrivateDir,
    manager: Manager,
    failures: &mut Vec<Failure>,
) -> RunReport {
    let mut containers = Vec::new();
    for (key, verdict) in manager.adopted().await.verdicts {
        let mut container = ContainerReport::new(&key, &verdict);
        let done = container::look_after(&manager, &key, &verdict, args.force, &mut container);
        failures.extend(Box::pin(done).await.err());
        containers.push(container);
    }
    if containers.iter().any(|container| !container.removed) {
        manager.detach().await;
        return RunReport::kept(dir, containers);
    }
    match remove(base, dir, manager).await {
        Ok(()) => RunReport::removed(dir, containers),
        Err(failure) => {
            let report = RunReport::failed(dir, containers, &failure);
            failures.push(failure);
            report
        }
    }
}

async fn remove(base: &Base, dir: &PrivateDir, manager: Manager) -> Result<(), Failure> {
    let _no_other_cleanup = base.hold()?;
    manager.remove_directories().await.map_err(|error| Failure::of_library(&error))?;
    dir.remove()
}
