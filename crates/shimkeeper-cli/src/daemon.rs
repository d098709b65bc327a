// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper daemon`, and `shimkeeper config` about what it is told. The daemon itself is a crate of its own.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shimkeeper_daemon::{Config, DaemonError, Level, Overrides, Sources};

use crate::failure::{EXIT_FAILURE, Failure};

const DAEMON_EXAMPLES: &str = "\
Examples:
  shimkeeper daemon
  shimkeeper daemon --root /srv/sk --state /run/sk --address /run/sk.sock
  ctr --address /run/sk.sock run --rootfs /srv/alpine greeter /bin/echo hello
  dockerd --containerd /run/sk.sock

Shims send their events to the address with .ttrpc at its end, unless the configuration says otherwise.

Signals:
  TERM and INT end the daemon, within seconds; tasks and their shims live on and are taken over at the next start.
  HUP reads the configuration again: limits, timeouts and the log level change at once.
  USR1 writes what there is into the log.";

// What counts more than the file, and the file.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The configuration [default: /etc/shimkeeper/config.toml, if it is there]
    #[arg(short, long, value_name = "FILE", env = "SHIMKEEPER_CONFIG")]
    config: Option<PathBuf>,
    /// The directory of what outlives a reboot
    #[arg(long, value_name = "DIR", env = "SHIMKEEPER_ROOT")]
    root: Option<PathBuf>,
    /// The directory of what does not
    #[arg(long, value_name = "DIR", env = "SHIMKEEPER_STATE")]
    state: Option<PathBuf>,
    /// The socket of clients
    #[arg(short, long, value_name = "SOCKET", env = "SHIMKEEPER_ADDRESS")]
    address: Option<PathBuf>,
    /// From which level on something is logged
    #[arg(short, long, value_name = "LEVEL", env = "SHIMKEEPER_LOG_LEVEL")]
    log_level: Option<LevelArg>,
}

#[derive(Debug, Args)]
#[command(after_help = DAEMON_EXAMPLES)]
pub(crate) struct DaemonCommand {
    #[command(flatten)]
    pub(crate) sources: DaemonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with its default and what it means
    Default,
    /// Print what the daemon would run with: the file, with environment and flags over it
    Dump(DaemonArgs),
    /// Say whether the daemon would take the configuration
    Check(DaemonArgs),
}

/// containerd's two highest levels are taken for `error`, for scripts that name them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelArg {
    Trace,
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    #[value(aliases = ["fatal", "panic"])]
    Error,
}

impl DaemonArgs {
    fn sources(&self) -> Sources {
        let log_level = self.log_level.map(|level| match level {
            LevelArg::Trace => Level::Trace,
            LevelArg::Debug => Level::Debug,
            LevelArg::Info => Level::Info,
            LevelArg::Warn => Level::Warn,
            LevelArg::Error => Level::Error,
        });
        let (root, state) = (self.root.clone(), self.state.clone());
        let overrides = Overrides { root, state, address: self.address.clone(), log_level };
        Sources { file: self.config.clone(), overrides }
    }
}

/// Runs the daemon; answers the exit code.
pub(crate) fn daemon(command: &DaemonCommand) -> u8 {
    exit_code(shimkeeper_daemon::run(command.sources.sources()))
}

/// Tells about the configuration; answers the exit code.
pub(crate) fn config(args: &ConfigArgs) -> u8 {
    let told = match &args.command {
        ConfigCommand::Default => Ok(Config::DEFAULT_TEXT.to_owned()),
        ConfigCommand::Dump(args) => args.sources().load().and_then(|config| config.to_text()),
        ConfigCommand::Check(args) => args.sources().load().map(|_| "the configuration is fine\n".to_owned()),
    };
    exit_code(told.map_err(DaemonError::from).and_then(|text| {
        let written = std::io::stdout().write_all(text.as_bytes());
        written.map_err(|source| DaemonError::System { verb: "write to standard output", source })
    }))
}

fn exit_code(ended: Result<(), DaemonError>) -> u8 {
    match ended {
        Ok(()) => 0,
        Err(error) => {
            Failure::of(&error, Some(error.hint())).print();
            EXIT_FAILURE
        }
    }
}
