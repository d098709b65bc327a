// SPDX-License-Identifier: Apache-2.0
//! The command lines of a daemon's client; those about processes and about watching are in files of their own.

pub(crate) mod process;
pub(crate) mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::filter::{Filter, parse_filter};
use super::server::{InNamespace, ServerArgs};
use super::signal::parse_signal;
use crate::run::units::parse_duration;
use process::{AttachArgs, ExecArgs};
use watch::{EventsArgs, LogsArgs, StatsArgs, TopArgs};

const IDS: &str = "Ids may be shortened to what only one of them begins with.";

const PS_EXAMPLES: &str = "\
Examples:
  shimkeeper ps
  shimkeeper ps -a --filter label=tier=front --filter status=stopped
  shimkeeper ps -q --filter exited=137 -a

Filters are KEY=VALUE: id (a part of it), status, label (NAME or NAME=VALUE), runtime (a part of it), image (a part of it),
exited (the status it ended with). Of several with the same key one has to fit, and of every key one. With a status or
exited, those that have ended are listed without -a.";

#[derive(Debug, Subcommand)]
// Only the command that is given is built.
#[command(defer = true)]
pub(crate) enum ClientCommand {
    /// List the containers of a daemon
    #[command(after_help = PS_EXAMPLES)]
    Ps(PsArgs),
    /// Show all that is known of containers
    #[command(after_help = IDS)]
    Inspect(TargetArgs),
    /// Run containers that are there and do not run
    #[command(after_help = IDS)]
    Start(TargetArgs),
    /// Run a further process in a container
    Exec(Box<ExecArgs>),
    /// See what a container writes, and type into it
    Attach(AttachArgs),
    /// Show what a container has written
    Logs(LogsArgs),
    /// List the processes of a container
    #[command(after_help = IDS)]
    Top(TopArgs),
    /// Show what containers use
    Stats(StatsArgs),
    /// Send containers a signal
    #[command(after_help = IDS)]
    Kill(KillArgs),
    /// End containers: with TERM, and with KILL when that does not do
    #[command(after_help = IDS)]
    Stop(StopArgs),
    /// Remove containers that have ended
    #[command(after_help = IDS)]
    Rm(RmArgs),
    /// Freeze containers
    #[command(after_help = IDS)]
    Pause(TargetArgs),
    /// Let frozen containers go on
    #[command(after_help = IDS)]
    Unpause(TargetArgs),
    /// Show what happens in a daemon
    Events(EventsArgs),
    /// List the namespaces of a daemon
    Ns(ServerArgs),
    /// Show how a daemon and its shims are doing
    Info(ServerArgs),
    /// Show the versions of this command and of a daemon
    Version(ServerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Also those that have ended, or were never started
    #[arg(short, long)]
    pub(in crate::client) all: bool,
    /// Only their ids
    #[arg(short, long)]
    pub(in crate::client) quiet: bool,
    /// Only those like this
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_filter)]
    pub(in crate::client) filter: Vec<Filter>,
    #[command(flatten)]
    pub(in crate::client) within: InNamespace,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Which containers
    #[arg(value_name = "ID", required = true)]
    pub(in crate::client) ids: Vec<String>,
    #[command(flatten)]
    pub(in crate::client) within: InNamespace,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Which signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = parse_signal)]
    pub(in crate::client) signal: u32,
    /// To every process of the container
    #[arg(short, long)]
    pub(in crate::client) all: bool,
    #[command(flatten)]
    pub(in crate::client) targets: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// How long after TERM comes KILL
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(in crate::client) time: Duration,
    #[command(flatten)]
    pub(in crate::client) targets: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill what still runs
    #[arg(short, long)]
    pub(in crate::client) force: bool,
    #[command(flatten)]
    pub(in crate::client) targets: TargetArgs,
}
