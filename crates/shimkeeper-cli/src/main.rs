// SPDX-License-Identifier: Apache-2.0
//! The `shimkeeper` command: parses the command line, starts a runtime, and turns the outcome into an exit code.

mod args;
mod cleanup;
mod client;
mod daemon;
mod failure;
mod foreground;
mod handbook;
mod kept;
mod output;
mod private_dirs;
mod run;
mod stdout;
mod store;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use shimkeeper_core::Kind;

use args::{Cli, Command};
use failure::{EXIT_FAILURE, Failure};

#[global_allocator]
static ALLOCATOR: shimkeeper_daemon::Allocator = shimkeeper_daemon::Allocator;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let command = match cli.command {
        // It has a runtime of its own, once it knows its configuration.
        Command::Daemon(args) => return ExitCode::from(daemon::daemon(&args)),
        Command::Config(args) => return ExitCode::from(daemon::config(&args)),
        Command::Completions(args) => return ExitCode::from(handbook::completions(&args, Cli::command())),
        Command::Man(args) => return ExitCode::from(handbook::man(&args, Cli::command())),
        other => other,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::io("start the async runtime", &error, "check the limits on open files").print();
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let code = match command {
        Command::Run(args) => {
            log_to_stderr(args.report.debug);
            if args.by_daemon.is_wanted() {
                runtime.block_on(client::run::run(&args))
            } else {
                runtime.block_on(run::run(&args))
            }
        }
        Command::Cleanup(args) => {
            log_to_stderr(args.debug);
            runtime.block_on(cleanup::cleanup(&args))
        }
        Command::Store(args) => runtime.block_on(store::store(&args)),
        Command::Import(args) => runtime.block_on(store::import_containerd(&args)),
        Command::LogDriver(args) => runtime.block_on(kept::driver::drive(&args)),
        Command::Client(command) => runtime.block_on(client::client(&command)),
        Command::Daemon(_) | Command::Config(_) | Command::Completions(_) | Command::Man(_) => {
            unreachable!("they have returned")
        }
    };
    // A write that a slow reader of ours holds up, and that was given up on, must not hold us up too.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Help and version are no failures; a wrong command line is one of ours, not of the container.
fn usage(error: &clap::Error) -> ExitCode {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand as NoCommand, DisplayVersion};
    if let kind @ (DisplayHelp | DisplayVersion | NoCommand) = error.kind() {
        // Nobody is left to be told that the stream is closed.
        let _ = error.print();
        return if kind == NoCommand { ExitCode::from(EXIT_FAILURE) } else { ExitCode::SUCCESS };
    }
    let command = std::env::args_os().nth(1).and_then(|word| word.into_string().ok());
    let command = command.filter(|word| Cli::command().find_subcommand(word).is_some());
    let hint = match command {
        Some(command) => format!("see `shimkeeper {command} --help`"),
        None => "see `shimkeeper --help`".to_owned(),
    };
    Failure::new(Kind::InvalidArgument, in_one_line(&error.render().to_string()), hint).print();
    ExitCode::from(EXIT_FAILURE)
}

/// What is wrong, without the usage that follows after an empty line.
fn in_one_line(rendered: &str) -> String {
    let lines = rendered.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let text = lines.collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// The library logs what it does; without `--debug` only what is alarming is of interest.
fn log_to_stderr(debug: bool) {
    let level = if debug { tracing::Level::DEBUG } else { tracing::Level::ERROR };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level)
        // Complaining that standard error is closed would panic, because it is closed.
        .log_internal_errors(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_in_one_line() {
        let told =
            |words: &[&str]| in_one_line(&Cli::try_parse_from(words).unwrap_err().render().to_string());
        assert_eq!(told(&["shimkeeper", "run", "--bogus"]), "unexpected argument '--bogus' found");
        let missing = told(&["shimkeeper", "run", "sh"]);
        assert!(missing.contains("--rootfs") && !missing.contains("Usage"), "{missing}");
        assert!(told(&["shimkeeper", "run", "--rootfs", "/", "-m", "x", "sh"]).contains("invalid value 'x'"));
    }
}
