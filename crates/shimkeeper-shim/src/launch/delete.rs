// SPDX-License-Identifier: Apache-2.0
//! `delete`: reap what a dead shim left, without a connection.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use shimkeeper_core::{Exit, time};
use shimkeeper_proto::containerd::task::v3::DeleteResponse;

use super::process::{self, End, Outcome};
use super::{Action, Ended, LaunchContext, LaunchError, command};
use crate::bundle::Bundle;
use crate::resolve::ShimBinary;
use crate::text;

/// What a shim's `delete` says about the init process. By then it was killed, so most of this is a convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReapAnswer {
    /// Its pid, if the shim knew it.
    pub pid: Option<u32>,
    /// Its status, by convention 137; [`Exit::UNKNOWN_STATUS`] if the shim answered nothing at all.
    pub status: u32,
    /// When it ended, by convention now.
    pub at: Option<SystemTime>,
}

impl ShimBinary {
    /// Reaps what the bundle's shim left: kills the container, unmounts its root file system, forgets its state.
    /// The bundle itself stays.
    ///
    /// # Errors
    /// [`LaunchError`]. The container may still be there then, and so must the bundle.
    ///
    /// # Cancel safety
    /// Dropping the future kills the process group; what was reaped until then is not undone. May be repeated.
    pub async fn delete(
        &self,
        cx: &LaunchContext,
        bundle: &Bundle,
        deadline: Duration,
    ) -> Result<ReapAnswer, LaunchError> {
        let command = command::for_task(self, Action::Delete, cx, bundle);
        let (outcome, group) = process::run(command, None, deadline)
            .await
            .map_err(|failed| LaunchError::of_process(Action::Delete, self, failed))?;
        let answer = reaped(&outcome, deadline);
        group.settle(answer.is_ok()).await;
        let stderr = text::excerpt(&outcome.stderr);
        if answer.is_ok() && !stderr.is_empty() {
            tracing::debug!(
                namespace = %cx.key.namespace, task = %cx.key.id, stderr,
                "shim delete wrote to its standard error"
            );
        }
        answer
    }
}

fn reaped(outcome: &Outcome, deadline: Duration) -> Result<ReapAnswer, LaunchError> {
    if outcome.end != End::Exited(Ended::Code(0)) {
        return Err(LaunchError::of_end(Action::Delete, outcome, deadline, None));
    }
    if outcome.stdout.is_empty() {
        return Ok(ReapAnswer { pid: None, status: Exit::UNKNOWN_STATUS, at: None });
    }
    let answer = DeleteResponse::decode(outcome.stdout.as_slice())
        .map_err(|_| LaunchError::garbage(Action::Delete, "DeleteResponse", &outcome.stdout))?;
    // A shim that has lost its pid file says -1, which arrives as 4294967295.
    let pid = Some(answer.pid).filter(|pid| *pid != 0 && i32::try_from(*pid).is_ok());
    let at = answer.exited_at.and_then(|at| time::from_parts(at.seconds, at.nanos));
    Ok(ReapAnswer { pid, status: answer.exit_status, at })
}
