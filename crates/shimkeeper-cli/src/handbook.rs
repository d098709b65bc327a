// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper completions` and `shimkeeper man`: what shells and `man` are told of the command line. Both are made from
//! the command line itself, so neither can lag behind it.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::{Failure, told};

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  shimkeeper completions bash > /etc/bash_completion.d/shimkeeper
  shimkeeper completions zsh > /usr/share/zsh/site-functions/_shimkeeper
  shimkeeper completions fish > ~/.config/fish/completions/shimkeeper.fish
  source <(shimkeeper completions bash)";

const MAN_EXAMPLES: &str = "\
Examples:
  shimkeeper man /usr/share/man/man1
  shimkeeper man /tmp/pages && man /tmp/pages/shimkeeper-run.1";

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManArgs {
    /// The directory the pages are written to, one for each command; made if it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Prints what a shell needs to complete the command line; answers the exit code.
pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> u8 {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    told(std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(|error| {
        Failure::io("write to standard output", &error, "give it a place that takes it, as in > FILE")
    }))
}

/// Writes the manual pages; answers the exit code.
pub(crate) fn man(args: &ManArgs, command: Command) -> u8 {
    let written =
        std::fs::create_dir_all(&args.dir).and_then(|()| clap_mangen::generate_to(command, &args.dir));
    told(written.map_err(|error| {
        let what = format!("write manual pages to {}", args.dir.display());
        Failure::io(what, &error, "choose a directory that you may write to")
    }))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;
    use crate::failure::EXIT_FAILURE;

    #[test]
    fn there_is_a_page_for_every_command_that_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("man/man1");
        assert_eq!(man(&ManArgs { dir: pages.clone() }, Cli::command()), 0);
        for command in Cli::command().get_subcommands() {
            let page = pages.join(format!("shimkeeper-{}.1", command.get_name()));
            assert_eq!(page.exists(), !command.is_hide_set(), "{}", page.display());
        }
        let run = std::fs::read_to_string(pages.join("shimkeeper-run.1")).unwrap();
        assert!(run.contains("\\-\\-rootfs") && run.contains("Exit code"), "{run}");

        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(man(&ManArgs { dir: file.join("below") }, Cli::command()), EXIT_FAILURE);
    }

    #[test]
    fn shells_are_told_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "shimkeeper", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
