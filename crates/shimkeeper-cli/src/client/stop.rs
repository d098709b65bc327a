// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper stop`: TERM, some time, KILL; over when the process is.

use std::time::Duration;

use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::tasks::v1::WaitRequest;
use shimkeeper_proto::containerd::v1::types::Status;

use super::args::StopArgs;
use super::each::each;
use super::find;
use super::kill::{resume, send};
use super::server::{Server, refused, unless};
use super::signal::{KILL, TERM};
use crate::failure::Failure;

/// How long after KILL a process may be there. Longer takes one that the kernel cannot end.
const AFTER_KILL: Duration = Duration::from_secs(30);

pub(super) async fn stop(args: &StopArgs) -> Result<u8, Failure> {
    let time = args.time;
    each(&args.targets, "shimkeeper.stop/1", async move |server, id| {
        if find::task(server, id).await?.is_none() {
            return Err(Failure::new(
                Kind::NotFound,
                format!("stop {id}: it has no task"),
                "nothing of it runs",
            ));
        }
        end(server, id, time).await
    })
    .await
}

/// Ends the task of a container: with TERM, and with KILL when the time is over.
async fn end(server: &Server, id: &str, time: Duration) -> Result<(), Failure> {
    signal(server, id, TERM).await?;
    if ended(server, id, time).await? { Ok(()) } else { kill(server, id).await }
}

/// Ends the task of a container, with all that is in it.
pub(super) async fn kill(server: &Server, id: &str) -> Result<(), Failure> {
    signal(server, id, KILL).await?;
    if ended(server, id, AFTER_KILL).await? {
        return Ok(());
    }
    let what = format!("{id} is still there {AFTER_KILL:?} after KILL");
    let hint = "the kernel may be holding its process; `shimkeeper inspect` shows its state, and its shim's";
    Err(Failure::new(Kind::DeadlineExceeded, what, hint))
}

/// Sends a signal to what has not ended yet. What is frozen must go on to receive it.
async fn signal(server: &Server, id: &str, signal: u32) -> Result<(), Failure> {
    let status = find::task(server, id).await?.map(|task| task.status());
    if matches!(status, None | Some(Status::Stopped)) {
        return Ok(());
    }
    // Not found is a process that has ended meanwhile.
    unless(Kind::NotFound, send(server, id, signal, signal == KILL).await)?;
    if status == Some(Status::Paused) {
        resume(server, id).await?;
    }
    Ok(())
}

/// Whether it ends within this time.
async fn ended(server: &Server, id: &str, time: Duration) -> Result<bool, Failure> {
    let request = WaitRequest { container_id: id.to_owned(), exec_id: String::new() };
    let mut tasks = server.tasks();
    match tokio::time::timeout(time, tasks.wait(request)).await {
        Err(_elapsed) => Ok(false),
        Ok(Ok(_)) => Ok(true),
        // Somebody has removed it.
        Ok(Err(status)) if Kind::from_code(status.code().into()) == Kind::NotFound => Ok(true),
        Ok(Err(status)) => Err(refused(&format!("wait for the end of {id}"), &status)),
    }
}
