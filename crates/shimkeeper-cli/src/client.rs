// SPDX-License-Identifier: Apache-2.0
//! The commands that talk to a daemon: ours, or another that serves containerd's API. They use nothing but that API,
//! and `shimkeeper.v1` where it is served.

mod about;
pub(crate) mod args;
mod channel;
mod each;
mod events;
mod find;
mod inspect;
mod kill;
mod print;
mod ps;
mod rm;
mod server;
mod signal;
mod stop;
mod view;

use crate::failure::EXIT_FAILURE;
use args::ClientCommand;

/// Does what is asked of a daemon; answers the exit code.
pub(crate) async fn client(command: &ClientCommand) -> u8 {
    let outcome = match command {
        ClientCommand::Ps(args) => ps::ps(args).await,
        ClientCommand::Inspect(args) => inspect::inspect(args).await,
        ClientCommand::Kill(args) => kill::kill(args).await,
        ClientCommand::Stop(args) => stop::stop(args).await,
        ClientCommand::Rm(args) => rm::rm(args).await,
        ClientCommand::Pause(args) => kill::pause(args).await,
        ClientCommand::Unpause(args) => kill::unpause(args).await,
        ClientCommand::Events(args) => events::events(args).await,
        ClientCommand::Ns(args) => about::namespaces(args).await,
        ClientCommand::Info(args) => about::info(args).await,
        ClientCommand::Version(args) => about::version(args).await,
    };
    outcome.unwrap_or_else(|failure| {
        failure.print();
        EXIT_FAILURE
    })
}
