// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper kill`, `pause` and `unpause`: one call for each container.

use shimkeeper_proto::containerd::services::tasks::v1::{KillRequest, PauseTaskRequest, ResumeTaskRequest};

use super::args::{KillArgs, TargetArgs};
use super::each::each;
use super::server::{Server, ask};
use crate::failure::Failure;

/// What is waited for, as it is told.
pub(super) const TAKE_SIGNAL: &str = "waiting for its shim to take the signal";

pub(super) async fn kill(args: &KillArgs) -> Result<u8, Failure> {
    let (signal, all) = (args.signal, args.all);
    each(&args.targets, "shimkeeper.kill/1", "sending a signal to", async move |server, id, progress| {
        progress.step(TAKE_SIGNAL);

        send(server, id, signal, all).await
    })
    .await
}

pub(super) async fn pause(args: &TargetArgs) -> Result<u8, Failure> {
    each(args, "shimkeeper.pause/1", "freezing", async |server, id, _| {
        let request = PauseTaskRequest { container_id: id.to_owned() };
        ask(&format!("pause {id}"), server.tasks().pause(request)).await.map(|_| ())
    })
    .await
}

pub(super) async fn unpause(args: &TargetArgs) -> Result<u8, Failure> {
    each(args, "shimkeeper.unpause/1", "unfreezing", async |server, id, _| resume(server, id).await).await
}

/// Sends a signal.
pub(super) async fn send(server: &Server, id: &str, signal: u32, all: bool) -> Result<(), Failure> {
    let request = KillRequest { container_id: id.to_owned(), exec_id: String::new(), signal, all };
    ask(&format!("send signal {signal} to {id}"), server.tasks().kill(request)).await.map(|_| ())
}

/// Lets it go on.
pub(super) async fn resume(server: &Server, id: &str) -> Result<(), Failure> {
    let request = ResumeTaskRequest { container_id: id.to_owned() };
    ask(&format!("unpause {id}"), server.tasks().resume(request)).await.map(|_| ())
}
