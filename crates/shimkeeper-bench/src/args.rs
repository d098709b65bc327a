// SPDX-License-Identifier: Apache-2.0
//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures Shimkeeper's daemon beside containerd's, the same scenarios in turns; or, by a command, the library alone.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) comparison: Comparison,
    #[command(subcommand)]
    pub(crate) alone: Option<Alone>,
}

/// Which daemons do what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Comparison {
    /// What is measured; everything unless some are named.
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenarios: Vec<Scenario>,
    /// A containerd to measure against, with the shim beside it; may be repeated. By default the one that the tests
    /// have unpacked, and the one on the search path.
    #[arg(long, value_name = "BINARY")]
    pub(crate) against: Vec<PathBuf>,
    /// The shim of every daemon, instead of the one beside each containerd.
    #[arg(long, value_name = "PATH")]
    pub(crate) shim: Option<PathBuf>,
    /// The OCI runtime the shims run: a name on the search path, or an absolute path.
    #[arg(long, default_value = "runc", value_name = "RUNTIME")]
    pub(crate) runtime_binary: String,
    /// How often everything is done; more rounds, less chance.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// The least that shows whether it works; its figures mean nothing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Writes the figures to a file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Our own binary, as users get it.
    #[arg(
        long,
        default_value = "target/release/shimkeeper",
        overrides_with = "shimkeeper",
        value_name = "BINARY"
    )]
    pub(crate) shimkeeper: PathBuf,
    /// Where state directories go, in new ones. By default a tmpfs, as `/run` is one where this is run in earnest.
    #[arg(long, default_value = "/dev/shm", value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// Where root directories go, in new ones: a disk, as `/var/lib` is on one.
    #[arg(long, default_value = "/var/tmp", value_name = "DIR")]
    pub(crate) root_dir: PathBuf,
}

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// From the start of the daemon to its first answer, and until all of 200 tasks are back.
    Startup,
    /// The whole life of `/bin/true`: one after the other, with pauses, 8 and 32 at a time; and the shim by hand.
    Lifecycle,
    /// `/bin/true` as an additional process.
    Exec,
    /// Calls that start nothing: Version, Get, List of 50, Metrics of 50.
    Rpc,
    /// What it takes to be there: memory, descriptors, wake-ups with 0, 50, 200 and 500 tasks, and after them.
    Steady,
    /// Killed, or told to end, with 8 lifecycles under way, and started again: what is left when all was removed.
    Restart,
    /// 50 shims killed at once: how soon that is told, and what is left.
    Crash,
    /// Events published to 0, 1, 10 and 100 subscribers.
    Events,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alone {
    /// The floor: the whole life of `/bin/true` through the library and by hand, in turns.
    Floor(Floor),
    /// Many lifecycles in one process: none may fail, and nothing may be kept.
    Soak(Soak),
    /// A restart with many tasks: how soon there is an answer, how soon all are back, what each of them takes.
    Adoption(Adoption),
    /// What `adoption` runs as a process of its own: a manager that is opened on directories with life in them.
    #[command(hide = true)]
    AdoptOnce(AdoptOnce),
    /// What `floor` runs as a process of its own: a container by system calls alone.
    #[command(hide = true)]
    BareOnce(BareOnce),
}

/// What all of these run on.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    /// The shim: a runtime name, or an absolute path.
    #[arg(long, default_value = "io.containerd.runc.v2", value_name = "PATH")]
    pub(crate) shim: String,
    /// The OCI runtime the shim runs: a name on the search path, or an absolute path.
    #[arg(long, default_value = "runc", value_name = "RUNTIME")]
    pub(crate) runtime_binary: String,
    /// Where bundles go, in a new directory. By default a tmpfs, as `/run` is one where this is run in earnest.
    #[arg(long, default_value = "/dev/shm", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Runs the shim's `delete` action after a clean end, too: what leaving it out saves.
    #[arg(long)]
    pub(crate) always_reap: bool,
    /// Leaves the runtime's wait for the kernel where it is: what having it earlier saves.
    #[arg(long)]
    pub(crate) no_overlap: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Floor {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Measured lifecycles of each side.
    #[arg(short, long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) n: u32,
    /// Lifecycles of each side before anything is measured.
    #[arg(long, default_value_t = 3)]
    pub(crate) warm_up: u32,
    /// Then measures lifecycles per second with this many at once, through the library; may be repeated.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) in_flight: Vec<u32>,
    /// Writes the figures to a file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Lifecycles one after the other.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sequential: u32,
    /// Then lifecycles all at once; 0 leaves this out.
    #[arg(long, default_value_t = 100)]
    pub(crate) concurrent: u32,
    /// How much memory the process may have gained over the sequential lifecycles, in KiB.
    #[arg(long, default_value_t = 1024, value_name = "KIB")]
    pub(crate) growth: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Adoption {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Running tasks.
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) n: u32,
    /// On the fake shim of the tests, of which the machine can bear more; `--shim` and the like mean nothing then.
    #[arg(long)]
    pub(crate) fake: bool,
    /// Restarts, the first of which is not counted.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) restarts: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AdoptOnce {
    /// The state directory.
    pub(crate) state: PathBuf,
    /// The root directory.
    pub(crate) root: PathBuf,
    /// When the process was started, by the machine's monotonic clock, in nanoseconds.
    pub(crate) began: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn throughput_may_be_asked_for_several_times() {
        let args = Args::parse_from(["b", "floor", "-n", "5", "--in-flight", "1", "--in-flight", "8"]);
        let Some(Alone::Floor(options)) = args.alone else { panic!("not the command that was asked for") };
        assert_eq!((options.n, options.in_flight), (5, vec![1, 8]));
    }

    #[test]
    fn scenarios_need_no_command() {
        let args = Args::parse_from(["b", "--against", "/a", "--against", "/b", "rpc", "lifecycle"]);
        assert!(args.alone.is_none());
        assert_eq!(args.comparison.scenarios, [Scenario::Rpc, Scenario::Lifecycle]);
        assert_eq!(args.comparison.against.len(), 2);
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct BareOnce {
    #[arg(long)]
    pub(crate) rootfs: PathBuf,
    /// The groups to join.
    #[arg(long)]
    pub(crate) cgroup: Vec<PathBuf>,
}
