// SPDX-License-Identifier: Apache-2.0
//! One container on an embedded manager: made, started, watched, deleted. Watching is in `supervise.rs`.
//!
//! Whatever fails after the task exists, the task is ended and deleted, unless it is to be kept.

use std::time::{Duration, Instant};

use shimkeeper::{CreateTask, Error, Manager, ProcessIo, RuncOptions, Stdio, Task};
use shimkeeper_core::{Exit, Kind, TaskKey};

use super::report::Report;
use super::spec::Prepared;
use crate::args::RunArgs;
use crate::failure::{Failure, say};
use crate::foreground::exit_code;
use crate::foreground::signals::Signals;
use crate::foreground::supervise::{Ending, Order, Stake, Streams, Supervisor, Watched};
use crate::foreground::terminal::RawMode;

/// How long a container that is killed may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How long undoing a creation may take: a shim that does not answer is killed within that.
const UNDO_PATIENCE: Duration = Duration::from_secs(30);

const SIGKILL: u32 = 9;

/// Everything that is decided before the manager is opened.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) args: &'a RunArgs,
    pub(crate) key: &'a TaskKey,
    pub(crate) spec: Prepared,
}

/// Carries out the plan on an open manager. What fails while clearing up goes to `later`: the outcome is known by then.
pub(crate) async fn run(
    manager: &Manager,
    plan: &Plan<'_>,
    mut signals: Signals,
    report: &mut Report,
    later: &mut Vec<Failure>,
) -> Result<(), Failure> {
    let task = tokio::select! {
        biased;
        created = manager.create(request(plan)) => created.map_err(|error| why_not_started(&error))?,
        signal = signals.told_to_end() => {
            undone(manager, plan).await;
            return Err(abandoned(signal));
        }
    };
    for (phase, took) in task.phases().iter() {
        report.phase(phase.as_str(), took);
    }
    report.pid = task.pid();
    report.shim(task.shim_binary(), task.shim_pid());
    let outcome = run_task(&task, plan, signals, report).await;
    if plan.args.runtime.no_cleanup {
        return outcome;
    }
    let before = Instant::now();
    if outcome.is_err() {
        end(&task).await;
    }
    match task.delete().await {
        Ok(_) => report.phase("delete", before.elapsed()),
        Err(error) => later.push(Failure::of_library(&error)),
    }
    outcome
}

async fn run_task(
    task: &Task,
    plan: &Plan<'_>,
    mut signals: Signals,
    report: &mut Report,
) -> Result<(), Failure> {
    let raw_mode = RawMode::of_input(plan.spec.terminal && plan.args.interactive)?;
    let mut streams = copied(task.take_io())?;
    let before = Instant::now();
    let pid = task.start().await.map_err(|error| why_not_started(&error))?;
    report.pid = Some(pid);
    report.phase("start", before.elapsed());

    let before = Instant::now();
    let mut supervisor = Supervisor::new(task, Stake::Owner, plan.spec.terminal, raw_mode.as_ref());
    supervisor = supervisor.timeout(plan.args.timeout);
    if let Ending::Exit(exit) = supervisor.run(&mut signals, &mut streams).await? {
        report.exit(&exit);
    }
    report.phase("run", before.elapsed());
    report.timed_out = supervisor.timed_out();
    streams.drain(&mut signals).await;
    let written = streams.written();
    drop(raw_mode);
    if let (true, Some(timeout)) = (report.timed_out, plan.args.timeout) {
        say(&format!("the container was killed after {timeout:?} (--timeout)"), None);
    }
    report.written(&written);
    written
}

/// Begins to copy in every direction there is.
fn copied(io: Option<ProcessIo>) -> Result<Streams, Failure> {
    let mut streams = Streams::new();
    let Some(io) = io else { return Ok(streams) };
    if let Some(pipe) = io.stdout {
        streams.output(pipe, std::io::stdout())?;
    }
    if let Some(pipe) = io.stderr {
        streams.output(pipe, std::io::stderr())?;
    }
    if let Some(pipe) = io.stdin {
        streams.input(pipe, None, std::future::ready(()))?;
    }
    Ok(streams)
}

impl Watched for Task {
    async fn wait(&self) -> Result<Exit, Failure> {
        Task::wait(self).await.map_err(|error| Failure::of_library(&error))
    }

    async fn obey(&self, order: Order) -> Result<(), Failure> {
        let done = match order {
            Order::Signal(signal) => self.kill(signal, false).await,
            Order::Kill => match self.kill(SIGKILL, true).await {
                Ok(()) => Ok(()),
                // Not every shim knows how to kill all; the first process takes the others along.
                Err(_) => self.kill(SIGKILL, false).await,
            },
            Order::Resize(size) => self.resize(size.columns.into(), size.rows.into()).await,
        };
        done.map_err(|error| Failure::of_library(&error))
    }
}

fn request(plan: &Plan<'_>) -> CreateTask {
    let args = &plan.args.runtime;
    let runtime = named(args.name());
    let task = CreateTask::new(plan.key.clone(), plan.spec.json.clone()).runtime(runtime.as_str());
    let task = task.stdio(match (plan.spec.terminal, plan.args.interactive) {
        (true, stdin) => Stdio::Terminal { stdin },
        (false, stdin) => Stdio::Piped { stdin },
    });
    match &args.runtime_binary {
        Some(binary) => task.runc(RuncOptions::binary(named(binary))),
        None => task,
    }
}

/// A name as it is, a path from the root: the shim runs in another directory.
pub(crate) fn named(name_or_path: &str) -> String {
    let absolute = std::path::absolute(name_or_path).ok().filter(|_| name_or_path.contains('/'));
    absolute
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| name_or_path.to_owned())
}

/// Ends a task that runs unwatched, as far as that is possible.
async fn end(task: &Task) {
    // A task that cannot be killed shows when it is deleted, which then says why.
    let _ = task.kill(SIGKILL, true).await;
    let _ = tokio::time::timeout(KILL_PATIENCE, task.wait()).await;
}

/// Waits until the manager has undone an abandoned creation, which it does in the background.
async fn undone(manager: &Manager, plan: &Plan<'_>) {
    // What is not undone by then shows when the directories are removed.
    let _ = tokio::time::timeout(UNDO_PATIENCE, manager.freed(plan.key)).await;
}

/// As a shell has it when a signal ends a command.
fn abandoned(signal: u8) -> Failure {
    let what = format!("ended by signal {signal} before the container was started");
    Failure { exit_code: 128 + signal, kind: Kind::Canceled, what, hint: None }
}

/// A command that is missing has exit codes of its own.
fn why_not_started(error: &Error) -> Failure {
    Failure { exit_code: exit_code::of_start_failure(error), ..Failure::of_library(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_and_names_are_not() {
        assert_eq!(named("io.containerd.runc.v2"), "io.containerd.runc.v2");
        assert_eq!(named("/usr/bin/crun"), "/usr/bin/crun");
        assert_eq!(named("./shim"), std::env::current_dir().unwrap().join("shim").to_str().unwrap());
    }
}
