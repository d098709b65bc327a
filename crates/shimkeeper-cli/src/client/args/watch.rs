// SPDX-License-Identifier: Apache-2.0
//! The command lines of what watches: events, output, processes and figures.

use std::time::Duration;

use clap::Args;
use shimkeeper_core::Namespace;

use crate::client::logs::since::{Since, parse_since};
use crate::client::server::{InNamespace, ServerArgs};
use crate::run::units::parse_duration;

const EVENTS_EXAMPLES: &str = "\
Examples:
  shimkeeper events
  shimkeeper events --namespace moby --filter 'topic==\"/tasks/exit\"' -o json
  shimkeeper events --since 0

Without --since, everything that happens from now on. With it, task events by their numbers: those that are kept, then
those that come; this takes a daemon that serves shimkeeper.v1. With -o json, one object on each line.";

const LOGS_EXAMPLES: &str = "\
Examples:
  shimkeeper logs web
  shimkeeper logs -f --tail 20 web
  shimkeeper logs --since 10m -t web

The output of containers that `shimkeeper run -d` has started is kept, and what a daemon was told to write to a file can be
shown too, without times. What the container wrote to standard error is written to standard error. Ids may be shortened
to what only one of them begins with.";

const STATS_EXAMPLES: &str = "\
Examples:
  shimkeeper stats
  shimkeeper stats --no-stream -o json web
  shimkeeper stats --interval 5s

Processor time is that of the interval: 100% is one processor. Memory is without the file cache that could be given back
at once. With -o json, one object for each interval.";

#[derive(Debug, Args)]
#[command(after_help = EVENTS_EXAMPLES)]
pub(crate) struct EventsArgs {
    /// The number after which to begin; 0 for all that are kept
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::client) since: Option<u64>,
    /// Only events like this, or like another that is given, as in 'topic=="/tasks/exit"'
    #[arg(short, long, value_name = "FILTER")]
    pub(in crate::client) filter: Vec<String>,
    /// Only events of this namespace
    #[arg(short, long, value_name = "NAME")]
    pub(in crate::client) namespace: Option<Namespace>,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = LOGS_EXAMPLES)]
pub(crate) struct LogsArgs {
    /// Go on until the container has ended
    #[arg(short, long)]
    pub(in crate::client) follow: bool,
    /// Begin with this many lines before the end [default: all that are kept]
    #[arg(long, value_name = "LINES")]
    pub(in crate::client) tail: Option<usize>,
    /// Only what was written since then: a time as in 2026-01-31T12:00:00Z, or how long ago, as in 10m
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    pub(in crate::client) since: Option<Since>,
    /// With the time at which each line was begun
    #[arg(short, long)]
    pub(in crate::client) timestamps: bool,
    /// Which container
    #[arg(value_name = "ID")]
    pub(in crate::client) id: String,
    #[command(flatten)]
    pub(in crate::client) within: InNamespace,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Which container
    #[arg(value_name = "ID")]
    pub(in crate::client) id: String,
    #[command(flatten)]
    pub(in crate::client) within: InNamespace,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(after_help = STATS_EXAMPLES)]
pub(crate) struct StatsArgs {
    /// Show one interval, and end
    #[arg(long)]
    pub(in crate::client) no_stream: bool,
    /// How long an interval is
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(in crate::client) interval: Duration,
    /// Which containers [default: all that run]
    #[arg(value_name = "ID")]
    pub(in crate::client) ids: Vec<String>,
    #[command(flatten)]
    pub(in crate::client) within: InNamespace,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
}
