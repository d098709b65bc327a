// SPDX-License-Identifier: Apache-2.0
//! The command line, as data. Nothing is decided here: values are parsed, and flags that exclude each other are
//! refused. Flags that docker and containerd's client have keep the names and meanings they have there.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shimkeeper_core::Mount;

use crate::client::args::ClientCommand;
use crate::client::args::process::{ByDaemonArgs, KeepingArgs};
use crate::daemon::{ConfigArgs, DaemonCommand};
use crate::handbook::{CompletionsArgs, ManArgs};
use crate::kept::driver::DriverArgs;
use crate::output::Output;
use crate::run::mounts_arg::{parse_mount, parse_volume};
use crate::run::units::{parse_cpus, parse_duration, parse_size};
use crate::store::args::{ContainerdArgs, StoreArgs};

const RUN_EXAMPLES: &str = "\
Examples:
  shimkeeper run --rootfs /srv/alpine echo hello
  shimkeeper run --rootfs /srv/alpine -it sh
  shimkeeper run --rootfs /srv/alpine -m 64m --cpus 0.5 -v $PWD:/work -w /work make test
  tar c dir | shimkeeper run --rootfs /srv/alpine -i tar t
  shimkeeper run --bundle /srv/bundle
  shimkeeper run --rootfs /srv/alpine --runtime /opt/shims/containerd-shim-runc-v2 --trace-phases true
  shimkeeper run -d --name web --rootfs /srv/alpine httpd -f

Without -d, --daemon or --address the container is this command's own: it needs no daemon, and ends and goes with the
command. With one of them it is a daemon's, ours or containerd, and stays until `shimkeeper rm`. What a detached one
writes is kept, see `shimkeeper logs`; one in the foreground has its output here only.

Exit code:
  that of the container's process, 128+N when signal N ended it;
  125 when shimkeeper or the runtime failed, also to write what the process wrote; 126 when the command cannot be
  executed, 127 when it is not there.

Signals:
  TERM, INT, HUP, QUIT, USR1 and USR2 are forwarded. When three INTs within two seconds do not end the container,
  the next one kills it. With -it the keys go to the container, and so does Ctrl-C.

Files:
  /run/shimkeeper/run-* ($XDG_RUNTIME_DIR/shimkeeper/run-* for others than root) is the private directory of a run
  without --state and --root. It goes with the run; what a killed run leaves there goes with `shimkeeper cleanup`.";

const CLEANUP_EXAMPLES: &str = "\
Examples:
  shimkeeper cleanup
  shimkeeper cleanup --force -o json

A run that is killed itself, as by SIGKILL, leaves its private directory, and its container goes on. This deletes
what has ended since and removes its directory; what still runs, or was never started, is only listed. Containers
kept by `run --no-cleanup` are deleted too. Directories given with --state and --root are not looked at.

Exit code:
  0 when all that could be done is done, also when something is kept; 125 when something failed.";

/// The runtime that is everywhere.
pub(crate) const DEFAULT_RUNTIME: &str = "io.containerd.runc.v2";

/// The host side of the containerd shim protocol.
#[derive(Debug, Parser)]
#[command(name = "shimkeeper", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
// Only the command that is given is built. What its arguments say of themselves would then be its description: those that
// several commands have in common say nothing.
#[command(defer = true)]
pub(crate) enum Command {
    /// Run a command in a new container; needs no daemon, but can leave it to one
    Run(Box<RunArgs>),
    /// Remove what runs left behind that were killed themselves
    Cleanup(CleanupArgs),
    /// Look after the records of a daemon: check, export, import, recover
    Store(StoreArgs),
    /// Take over the records of a containerd that is stopped; its containers go on
    Import(ContainerdArgs),
    /// Serve containerd's API, so that its clients run containers here
    Daemon(DaemonCommand),
    /// Show or check the daemon's configuration
    Config(ConfigArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print what a shell needs to complete this command line
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
    /// Keep the output of a container; for shims
    #[command(name = crate::kept::DRIVER, hide = true)]
    LogDriver(DriverArgs),
}

/// Which network the container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkArg {
    None,
    Host,
}

#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    /// Forward standard input to the process; without it the process reads nothing
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Kill the container after this time, as in 90s, 1m30s or 500ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "detach")]
    pub(crate) timeout: Option<Duration>,
    /// The container's id [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) name: Option<String>,
    /// The namespace the container is in
    #[arg(short, long, value_name = "NAME", env = "CONTAINERD_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,

    /// The command and its arguments; with --bundle or --spec it takes the place of process.args
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    #[command(flatten)]
    pub(crate) by_daemon: ByDaemonArgs,
    #[command(flatten)]
    pub(crate) keeping: KeepingArgs,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

#[derive(Debug, Args)]
#[command(after_help = CLEANUP_EXAMPLES)]
pub(crate) struct CleanupArgs {
    /// Kill the containers that still run, and delete them
    #[arg(short, long)]
    pub(crate) force: bool,
    /// How it is told, on standard output
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// Log in detail on standard error
    #[arg(long)]
    pub(crate) debug: bool,
}

// What is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to run")]
pub(crate) struct SourceArgs {
    /// The directory of the root filesystem
    #[arg(long, value_name = "DIR", required_unless_present_any = ["bundle", "spec"])]
    pub(crate) rootfs: Option<PathBuf>,
    /// An OCI bundle: a directory with a config.json, and usually the root filesystem
    #[arg(long, value_name = "DIR", conflicts_with_all = ["rootfs", "spec"])]
    pub(crate) bundle: Option<PathBuf>,
    /// An OCI config.json; --rootfs takes the place of its root.path
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
}

// How the container is, when no spec says it.
#[derive(Debug, Args)]
#[group(conflicts_with_all = ["bundle", "spec"])]
#[command(next_help_heading = "The container (not with --bundle or --spec)")]
pub(crate) struct ContainerArgs {
    /// Set a variable, or pass on the one of this name
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file, one on a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The directory the process starts in
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,
    /// Whom the process runs as, by names or numbers of the container
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// The host name [default: the container's id]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Mount a directory of the host, or a tmpfs: type=bind,source=DIR,target=DIR,readonly
    #[arg(long, value_name = "MOUNT", value_parser = parse_mount)]
    pub(crate) mount: Vec<Mount>,
    /// Mount a directory or file of the host
    #[arg(short, long, value_name = "SRC:DST[:ro]", value_parser = parse_volume)]
    pub(crate) volume: Vec<Mount>,
    /// Mount the root filesystem read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// The network the container sees; none has nothing but a loopback device
    #[arg(long, value_name = "NETWORK", default_value = "none")]
    pub(crate) network: NetworkArg,
    /// The most memory, as in 64m or 1.5g
    #[arg(short, long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// The most processor time, as in 0.5 or 2
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    pub(crate) cpus: Option<u32>,
    /// The most processes and threads
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids_limit: Option<u32>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) cap_drop: Vec<String>,
    /// Let set-user-id programs gain privileges
    #[arg(long)]
    pub(crate) allow_new_privs: bool,
}

// Who runs it, and where the files are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime")]
pub(crate) struct RuntimeArgs {
    /// The shim: a runtime's name, or the path of the binary [default: io.containerd.runc.v2]
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) runtime: Option<String>,
    /// What the runc shim calls: runc, crun, or the path of such a binary
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) runtime_binary: Option<String>,
    /// The directory for what lasts as long as the container [default: a private one, removed at the end]
    #[arg(long, value_name = "DIR", requires = "root", conflicts_with = "by_daemon")]
    pub(crate) state: Option<PathBuf>,
    /// The directory for what lasts longer [default: a private one, removed at the end]
    #[arg(long, value_name = "DIR", requires = "state", conflicts_with = "by_daemon")]
    pub(crate) root: Option<PathBuf>,
    /// Keep the stopped container with its shim and its files, and say where they are
    #[arg(long, conflicts_with = "by_daemon")]
    pub(crate) no_cleanup: bool,
}

impl RuntimeArgs {
    /// The shim that is wanted.
    pub(crate) fn name(&self) -> &str {
        self.runtime.as_deref().unwrap_or(DEFAULT_RUNTIME)
    }
}

// What is told about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reporting")]
pub(crate) struct ReportArgs {
    /// How the result is told; json writes one object as the last line of standard error
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// Write the JSON result to this file instead; /dev/fd/3 works too
    #[arg(long, value_name = "FILE")]
    pub(crate) output_file: Option<PathBuf>,
    /// Print how long each phase took on standard error
    #[arg(long)]
    pub(crate) trace_phases: bool,
    /// Log in detail on standard error, and let the shim do so too
    #[arg(long)]
    pub(crate) debug: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        match Cli::try_parse_from(["shimkeeper", "run"].iter().chain(args))?.command {
            Command::Run(run) => Ok(*run),
            _ => unreachable!("the word is run"),
        }
    }

    #[test]
    fn a_command_says_of_itself_what_the_list_says_of_it() {
        let (listed, mut built) = (Cli::command(), Cli::command());
        built.build();
        for command in listed.get_subcommands() {
            let about = |of: &clap::Command| of.get_about().map(ToString::to_string);
            let name = command.get_name();
            assert_eq!(about(built.find_subcommand(name).unwrap()), about(command), "{name}");
        }
    }

    #[test]
    fn the_model_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_the_command_belongs_to_it() {
        let args = run(&["--rootfs", "/r", "-it", "echo", "-n", "--help", "-t"]).unwrap();
        assert_eq!(args.command, ["echo", "-n", "--help", "-t"]);
        assert!(args.interactive && args.tty);
        let args = run(&["--rootfs", "/r", "--", "-weird"]).unwrap();
        assert_eq!(args.command, ["-weird"]);
        assert!(run(&["--rootfs", "/r", "--bogus", "echo"]).is_err(), "no unknown flag becomes a command");
    }

    #[test]
    fn something_to_run_is_needed() {
        assert!(run(&["echo"]).is_err());
        assert!(run(&["--bundle", "/b"]).is_ok());
        assert!(run(&["--spec", "/s"]).is_ok());
        assert!(run(&["--spec", "/s", "--rootfs", "/r"]).is_ok());
        assert!(run(&["--bundle", "/b", "--rootfs", "/r"]).is_err());
        assert!(run(&["--bundle", "/b", "--spec", "/s"]).is_err());
    }

    #[test]
    fn a_spec_speaks_for_itself() {
        for flags in [&["-e", "A=1"][..], &["--read-only"], &["-m", "1g"], &["--network", "host"]] {
            assert!(run(&[&["--bundle", "/b"], flags].concat()).is_err(), "{flags:?}");
            assert!(run(&[&["--spec", "/b"], flags].concat()).is_err(), "{flags:?}");
            assert!(run(&[&["--rootfs", "/b"], flags].concat()).is_ok(), "{flags:?}");
        }
    }

    #[test]
    fn both_directories_or_none() {
        assert!(run(&["--rootfs", "/r", "--state", "/s"]).is_err());
        assert!(run(&["--rootfs", "/r", "--root", "/s"]).is_err());
        assert!(run(&["--rootfs", "/r", "--state", "/s", "--root", "/t"]).is_ok());
    }

    #[test]
    fn it_is_a_daemons_only_when_told() {
        let wanted = |flags: &[&str]| {
            run(&[&["--rootfs", "/r"], flags].concat()).map(|args| args.by_daemon.is_wanted())
        };
        assert!(!wanted(&[]).unwrap());
        for flags in [&["-d"][..], &["--daemon"], &["--address", "/s"], &["--daemon", "--rm", "-l", "a=b"]] {
            assert!(wanted(flags).unwrap(), "{flags:?}");
        }
        for flags in [&["--rm"][..], &["-l", "a=b"], &["-d", "--rm"], &["--daemon", "--log-driver", "none"]] {
            assert!(wanted(flags).is_err(), "{flags:?}");
        }
        for flags in [&["-d", "--state", "/s", "--root", "/t"][..], &["--daemon", "--no-cleanup"]] {
            assert!(wanted(flags).is_err(), "{flags:?}");
        }
    }
}
