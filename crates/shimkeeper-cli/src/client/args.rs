// SPDX-License-Identifier: Apache-2.0
//! The command lines of a daemon's client.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use shimkeeper_core::Namespace;

use super::signal::parse_signal;
use crate::args::Output;
use crate::run::units::parse_duration;

const IDS: &str = "Ids may be shortened to what only one of them begins with.";

const EVENTS_EXAMPLES: &str = "\
Examples:
  shimkeeper events
  shimkeeper events --namespace moby --filter topic==/tasks/exit -o json
  shimkeeper events --since 0

Without --since, everything that happens from now on. With it, task events by their numbers: those that are kept, then
those that come; this takes a daemon that serves shimkeeper.v1. With -o json, one object on each line.";

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List the containers of a daemon
    Ps(PsArgs),
    /// Show all that is known of containers
    #[command(after_help = IDS)]
    Inspect(TargetArgs),
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
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// List the namespaces of a daemon
    Ns(ServerArgs),
    /// Show how a daemon and its shims are doing
    Info(ServerArgs),
    /// Show the versions of this command and of a daemon
    Version(ServerArgs),
}

/// Which daemon, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The daemon's socket [default: $CONTAINERD_ADDRESS, or /run/shimkeeper/shimkeeper.sock]
    #[arg(long, value_name = "SOCKET", env = "SHIMKEEPER_ADDRESS")]
    pub(super) address: Option<PathBuf>,
    /// In words, or as JSON
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(super) output: Output,
}

/// In which namespace.
#[derive(Debug, Args)]
pub(crate) struct InNamespace {
    /// The namespace the containers are in
    #[arg(short, long, value_name = "NAME", env = "CONTAINERD_NAMESPACE", default_value = "default")]
    pub(super) namespace: Namespace,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Also those that have ended, or were never started
    #[arg(short, long)]
    pub(super) all: bool,
    /// Only their ids
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) within: InNamespace,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Which containers
    #[arg(value_name = "ID", required = true)]
    pub(super) ids: Vec<String>,
    #[command(flatten)]
    pub(super) within: InNamespace,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Which signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = parse_signal)]
    pub(super) signal: u32,
    /// To every process of the container
    #[arg(short, long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) targets: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// How long after TERM comes KILL
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(super) time: Duration,
    #[command(flatten)]
    pub(super) targets: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill what still runs
    #[arg(short, long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) targets: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The number after which to begin; 0 for all that are kept
    #[arg(long, value_name = "NUMBER")]
    pub(super) since: Option<u64>,
    /// Only events like this, or like another that is given, as in topic==/tasks/exit
    #[arg(short, long, value_name = "FILTER")]
    pub(super) filter: Vec<String>,
    /// Only events of this namespace
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<Namespace>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}
