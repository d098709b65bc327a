// SPDX-License-Identifier: Apache-2.0
//! What becomes of one container that a killed run left: what is over is deleted, what runs only when it is told to
//! end, and what cannot be reached is left alone.

use std::time::Duration;

use shimkeeper::{Error, Manager, Status, Task, TaskKey, Verdict};
use shimkeeper_core::Kind;

use super::report::ContainerReport;
use crate::failure::Failure;

/// How long a container that is killed may take to end, and the remains of a dead shim to be cleared up.
const PATIENCE: Duration = Duration::from_secs(30);

const SIGKILL: u32 = 9;

/// Does what can be done, and notes it in the report.
pub(super) async fn look_after(
    manager: &Manager,
    key: &TaskKey,
    verdict: &Verdict,
    force: bool,
    report: &mut ContainerReport,
) -> Result<(), Failure> {
    match verdict {
        Verdict::Adopted | Verdict::EndedWhileAway => {
            adopted(manager, key, force, report).await.map_err(|error| Failure::of_library(&error))
        }
        Verdict::Leaked | Verdict::Dead => cleared_up(manager, key, report).await,
        _ => Ok(()),
    }
}

/// Its shim answers.
async fn adopted(
    manager: &Manager,
    key: &TaskKey,
    force: bool,
    report: &mut ContainerReport,
) -> Result<(), Error> {
    let task = manager.get(key)?;
    let state = task.state().await?;
    report.pid = Some(state.pid).filter(|pid| *pid != 0);
    report.status(state.status);
    match state.status {
        Status::Stopped => report.exit(&task.delete().await?),
        _ if force => {
            end(&task).await?;
            report.exit(&task.delete().await?);
        }
        // One that is created may be starting: the run may have been killed between asking and the answer.
        _ => return Ok(()),
    }
    report.removed = true;
    Ok(())
}

/// Kills it, and waits for its end.
async fn end(task: &Task) -> Result<(), Error> {
    // Not every shim knows how to kill all; the first process takes the others along.
    if task.kill(SIGKILL, true).await.is_err() {
        match task.kill(SIGKILL, false).await {
            // Over already.
            Err(error) if error.kind() == Kind::NotFound => {}
            other => other?,
        }
    }
    // One that does not end shows when it is deleted, which then says why.
    let _ = tokio::time::timeout(PATIENCE, task.wait()).await;
    Ok(())
}

/// The manager clears it up by itself.
async fn cleared_up(manager: &Manager, key: &TaskKey, report: &mut ContainerReport) -> Result<(), Failure> {
    let over = async {
        if let Ok(task) = manager.get(key)
            && let Ok(exit) = task.wait().await
        {
            report.exit(&exit);
        }
        manager.freed(key).await;
    };
    if tokio::time::timeout(PATIENCE, over).await.is_ok() {
        report.removed = true;
        return Ok(());
    }
    let what = format!("{key}: what its shim left could not be cleared up within {PATIENCE:?}");
    Err(Failure::new(Kind::DeadlineExceeded, what, "see with --debug what holds it, and try again"))
}
