// SPDX-License-Identifier: Apache-2.0
//! The commands that talk to a daemon: ours, or another that serves containerd's API. They use nothing but that API,
//! and `shimkeeper.v1` where it is served.

mod about;
pub(crate) mod args;
mod attach;
mod each;
mod events;
mod exec;
pub(crate) mod fifos;
mod filter;
mod find;
mod front;
mod inspect;
mod kill;
mod label;
mod launch;
mod log_options;
mod logs;
mod patience;
mod print;
mod process;
mod ps;
mod rm;
pub(crate) mod run;
mod server;
mod signal;
mod start;
mod stats;
mod stop;
mod top;
mod view;

use args::ClientCommand;

/// Does what is asked of a daemon; answers the exit code.
pub(crate) async fn client(command: &ClientCommand) -> u8 {
    let outcome = match command {
        ClientCommand::Ps(args) => ps::ps(args).await,
        ClientCommand::Inspect(args) => inspect::inspect(args).await,
        ClientCommand::Start(args) => start::start(args).await,
        ClientCommand::Exec(args) => exec::exec(args).await,
        ClientCommand::Attach(args) => attach::attach(args).await,
        ClientCommand::Logs(args) => Box::pin(logs::logs(args)).await,
        ClientCommand::Top(args) => top::top(args).await,
        ClientCommand::Stats(args) => stats::stats(args).await,
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
        failure.exit_code
    })
}
