// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper stop`: TERM, some time, KILL; over when the process is.

use std::time::Duration;

use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::tasks::v1::WaitRequest;
use shimkeeper_proto::containerd::v1::types::Status;

use super::args::StopArgs;
use super::each::each;
use super::find;
use super::kill::{TAKE_SIGNAL, resume, send};
use super::patience::Progress;
use super::server::{Server, refused, unless};
use super::signal::{KILL, TERM};
use crate::failure::Failure;

/// What is waited for, as it is told.
const END: &str = "waiting for its end";

/// How long after KILL a process may be there. Longer takes one that the kernel cannot end.
const AFTER_KILL: Duration = Duration::from_secs(30);

pub(super) async fn stop(args: &StopArgs) -> Result<u8, Failure> {
    let time = args.time;
    each(&args.targets, "shimkeeper.stop/1", "ending", async move |server, id, progress| {
        if find::task_or_unknown(server, id).await?.is_none() {
            return Err(Failure::new(
                Kind::NotFound,
                format!("stop {id}: it has no task"),
                "nothing of it runs",
            ));
        }
        end(server, id, time, progress).await
    })
    .await
}

/// Ends the task of a container: with TERM, and with KILL when the time is over.
async fn end(server: &Server, id: &str, time: Duration, progress: &Progress<'_>) -> Result<(), Failure> {
    progress.step(TAKE_SIGNAL);
    match signal(server, id, TERM).await {
        Ok(()) => {
            progress.step(END);
            if ended(server, id, time).await? {
                return Ok(());
            }
        }
        // Its shim does not answer. There may be a way past it, but only for KILL.
        Err(failure) if failure.is_silence() => {}
        Err(failure) => return Err(failure),
    }
    kill(server, id, progress).await
}

/// Ends the task of a container, with all that is in it.
pub(super) async fn kill(server: &Server, id: &str, progress: &Progress<'_>) -> Result<(), Failure> {
    progress.step(TAKE_SIGNAL);
    signal(server, id, KILL).await?;
    progress.step(END);
    if ended(server, id, AFTER_KILL).await? {
        return Ok(());
    }
    let what = format!("{id} is still there {AFTER_KILL:?} after KILL");
    let hint = "the kernel may be holding its process; `shimkeeper inspect` shows its state, and its shim's";
    Err(Failure::new(Kind::DeadlineExceeded, what, hint))
}

/// Sends a signal to what has not ended yet. What is frozen must go on to receive it.
async fn signal(server: &Server, id: &str, signal: u32) -> Result<(), Failure> {
    let status = find::task_or_unknown(server, id).await?.map(|task| task.status());
    if matches!(status, None | Some(Status::Stopped)) {
        return Ok(());
    }
    // Not found is a process that has ended meanwhile.
    unless(Kind::NotFound, send(server, id, signal, signal == KILL).await)?;
    if status == Some(Status::Paused) {
        // KILL may have ended it already, by a runtime that thaws; and whether it ends is seen next.
        let _ = resume(server, id).await;
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
