// SPDX-License-Identifier: Apache-2.0
//! The command lines of what runs processes: `run` by a daemon, `exec`, `attach`.

use std::path::PathBuf;

use clap::Args;

use crate::client::label::parse_label;
use crate::client::log_options::LogArgs;
use crate::client::server::{InNamespace, ServerArgs};

const EXEC_EXAMPLES: &str = "\
Examples:
  shimkeeper exec web ps
  shimkeeper exec -it web sh
  shimkeeper exec -u nobody -w /srv -e DEBUG=1 web ./check

Exit code:
  that of the process, 128+N when signal N ended it; 125 when shimkeeper, the daemon or the runtime failed,
  also to write what the process wrote; 126 when the command cannot be executed, 127 when it is not there.

TERM, INT, HUP, QUIT, USR1 and USR2 are forwarded to the process. Ids may be shortened to what only one of them begins
with.";

const ATTACH_EXAMPLES: &str = "\
Examples:
  shimkeeper run -d -it --name shell --rootfs /srv/alpine sh
  shimkeeper attach shell

One leaves with Ctrl-P Ctrl-Q, and the container goes on. Several may be attached at once, where the output is kept by
the log driver of `shimkeeper run -d`; of a container that another client has started with FIFOs, each sees a part only.
When the container ends, its exit code is ours. Ids may be shortened to what only one of them begins with.";

// Whether a daemon runs it, and which.
#[derive(Debug, Default, Args)]
#[group(id = "by_daemon", multiple = true)]
#[command(next_help_heading = "By a daemon")]
pub(crate) struct ByDaemonArgs {
    /// Leave it to a daemon, print its id and return
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Let a daemon run it, in the foreground
    #[arg(long)]
    pub(crate) daemon: bool,
    /// The same, with its socket [default: $SHIMKEEPER_ADDRESS, $CONTAINERD_ADDRESS, or
    /// /run/shimkeeper/shimkeeper.sock]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
}

// How a daemon keeps it.
#[derive(Debug, Args)]
#[command(next_help_heading = "By a daemon")]
pub(crate) struct KeepingArgs {
    /// Remove the container when it has ended; without it, it stays until `shimkeeper rm`
    #[arg(long, requires = "by_daemon", conflicts_with = "detach")]
    pub(crate) rm: bool,
    /// A label of the container
    #[arg(short, long, value_name = "NAME=VALUE", requires = "by_daemon", value_parser = parse_label)]
    pub(crate) label: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
#[command(after_help = EXEC_EXAMPLES)]
pub(crate) struct ExecArgs {
    /// Forward standard input to the process; without it the process reads nothing
    #[arg(short, long)]
    pub(in crate::client) interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(in crate::client) tty: bool,
    /// Do not wait for the process; print its exec's id and return
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub(in crate::client) detach: bool,
    /// Set a variable, or pass on the one of this name
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(in crate::client) env: Vec<String>,
    /// Read variables from a file, one on a line
    #[arg(long, value_name = "FILE")]
    pub(in crate::client) env_file: Vec<PathBuf>,
    /// The directory the process starts in [default: the container's]
    #[arg(short, long, value_name = "DIR")]
    pub(in crate::client) workdir: Option<PathBuf>,
    /// Whom the process runs as, by names or numbers of the container [default: the container's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(in crate::client) user: Option<String>,
    #[command(flatten)]
    pub(in crate::client) within: InNamespace,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
    /// Which container
    #[arg(value_name = "ID")]
    pub(in crate::client) id: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub(in crate::client) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub(crate) struct AttachArgs {
    /// Do not type into it
    #[arg(long)]
    pub(in crate::client) no_stdin: bool,
    /// Which container
    #[arg(value_name = "ID")]
    pub(in crate::client) id: String,
    #[command(flatten)]
    pub(in crate::client) within: InNamespace,
    #[command(flatten)]
    pub(in crate::client) server: ServerArgs,
}

impl ByDaemonArgs {
    /// Whether it is a daemon's at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.detach || self.daemon || self.address.is_some()
    }
}
