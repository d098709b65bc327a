// SPDX-License-Identifier: Apache-2.0
//! Running a shim's binary: `start` launches a shim, `delete` reaps what one left, `-info` asks what it can do.
//!
//! The binary is run for a moment, answers on its standard output and exits; the shim it leaves behind is not our
//! child. What it may do to us in that moment is bounded:
//!
//! - it has a deadline of its own, and its process group is killed when that passes, when the call is dropped,
//!   and whenever the answer is none;
//! - standard output is the answer, standard error is text for people, and neither is read beyond 64 KiB;
//! - it ends when it exits: what it left running with its pipes in hand is not waited for.

mod command;
mod delete;
mod dialect;
mod error;
mod info;
mod process;

use std::time::Duration;

use shimkeeper_core::Any;
use tokio::time::Instant;

use crate::bootstrap::BootstrapParams;
use crate::bundle::Bundle;
use crate::resolve::ShimBinary;
use crate::text;

pub use command::LaunchContext;
pub use delete::ReapAnswer;
pub use dialect::{Dialect, DialectMemory};
pub use error::{Action, LaunchError};
pub use info::RuntimeInfo;
pub use process::Ended;

use process::{End, Outcome};

/// A shim that was launched and said where it listens. Nothing of it is proven yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// How to reach it.
    pub params: BootstrapParams,
    /// What the binary wrote besides its answer; printable, at most 1 KiB, usually empty.
    pub stderr: String,
}

// === impl ShimBinary ===

impl ShimBinary {
    /// Launches a shim for this bundle.
    ///
    /// The options are given in the form that this binary understands; if it says that it wanted the other form,
    /// that one is tried once, and remembered. The deadline covers both.
    ///
    /// # Errors
    /// [`LaunchError`]. The process group is dead then; a shim in a group of its own may still be there, and is
    /// found by [`find_by_mark`](crate::find_by_mark), or by the address it announced
    /// ([`LaunchError::announced`]).
    ///
    /// # Cancel safety
    /// Dropping the future kills the process group, and the runtime reaps what is left of the child.
    pub async fn start(
        &self,
        cx: &LaunchContext,
        bundle: &Bundle,
        options: Option<&Any>,
        dialect: &DialectMemory,
        deadline: Duration,
    ) -> Result<Started, LaunchError> {
        let ends_at = Instant::now() + deadline;
        let first = dialect.first_for(self);
        let attempt = self.start_once(cx, bundle, options, first, deadline).await;
        let Some(second) = attempt.as_ref().err().and_then(|error| dialect.after(first, error)) else {
            if attempt.is_ok() {
                dialect.remember(self, first);
            }
            return attempt;
        };
        tracing::debug!(
            namespace = %cx.key.namespace, task = %cx.key.id, shim = %self.path().display(), ?second,
            "the shim wants the other dialect"
        );
        let left = ends_at.saturating_duration_since(Instant::now());
        let started = self.start_once(cx, bundle, options, second, left).await.map_err(LaunchError::again)?;
        dialect.remember(self, second);
        Ok(started)
    }

    async fn start_once(
        &self,
        cx: &LaunchContext,
        bundle: &Bundle,
        options: Option<&Any>,
        dialect: Dialect,
        deadline: Duration,
    ) -> Result<Started, LaunchError> {
        let command = command::for_task(self, Action::Start, cx, bundle);
        let stdin = dialect::encode(dialect, cx, options);
        let (outcome, group) = process::run(command, stdin, deadline)
            .await
            .map_err(|failed| LaunchError::of_process(Action::Start, self, failed))?;
        let answer = started(&outcome, deadline);
        group.settle(answer.is_ok()).await;
        answer
    }
}

fn started(outcome: &Outcome, deadline: Duration) -> Result<Started, LaunchError> {
    let parsed = BootstrapParams::parse(&outcome.stdout);
    if outcome.end != End::Exited(Ended::Code(0)) {
        let announced = parsed.ok().map(Box::new);
        return Err(LaunchError::of_end(Action::Start, outcome, deadline, announced));
    }
    let stderr = text::excerpt(&outcome.stderr);
    match parsed {
        Ok(params) => Ok(Started { params, stderr }),
        Err(source) => Err(LaunchError::Answer { source, stderr }),
    }
}

#[cfg(test)]
mod tests;
