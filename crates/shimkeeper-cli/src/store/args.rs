// SPDX-License-Identifier: Apache-2.0
//! The command lines of `shimkeeper store` and `shimkeeper import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::output::Output;

const STORE_EXAMPLES: &str = "\
Examples:
  shimkeeper store check
  shimkeeper store export > records.json
  shimkeeper store import --root /srv/other records.json
  shimkeeper store recover

The store holds the records of containers, namespaces, leases and sandboxes: what clients said of them, not their
tasks, which are in the state directory. `check` and `export` may be used while a daemon runs; the others need it
stopped, and touch no container.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  systemctl stop containerd
  shimkeeper import --from-containerd /var/lib/containerd
  shimkeeper daemon --root /var/lib/containerd --state /run/containerd

Containers go on running meanwhile. Images, content and snapshots stay with containerd; nothing of it is changed.";

#[derive(Debug, Args)]
#[command(after_help = STORE_EXAMPLES)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Read every record and see whether it is whole
    Check(CheckArgs),
    /// Write all records as JSON
    Export(ExportArgs),
    /// Take in the records of an export
    Import(ImportArgs),
    /// Make a store in place of one that is damaged or gone: from what can be read, and from bundles
    Recover(RecoverArgs),
}

// Which store.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The daemon's root directory
    #[arg(long, value_name = "DIR", default_value = "/var/lib/shimkeeper")]
    pub(crate) root: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) place: Where,
    /// In words or as one JSON object
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to; standard output without it
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Where,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The export, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replace records that are there and differ; without it nothing is imported then
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) place: Where,
    /// In words or as one JSON object
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    pub(crate) place: Where,
    /// The daemon's state directory, with the bundles
    #[arg(long, value_name = "DIR", default_value = "/run/shimkeeper/daemon")]
    pub(crate) state: PathBuf,
    /// In words or as one JSON object
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(crate) struct ContainerdArgs {
    /// Root directory of the containerd that is replaced, mostly /var/lib/containerd
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) from_containerd: PathBuf,
    /// Root directory of the daemon that replaces it [default: the same]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Replace records that are there and differ; without it nothing is imported then
    #[arg(long)]
    pub(crate) replace: bool,
    /// In words or as one JSON object
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Output,
}
