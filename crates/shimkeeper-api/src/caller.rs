// SPDX-License-Identifier: Apache-2.0
//! What a request says about who makes it, what it is about and when it has to be over: namespace, ids, peer, deadline.

use std::time::{Duration, Instant};

use shimkeeper::{ExecId, IdError, Kind, Namespace, SandboxKey, TaskId, TaskKey};
use tonic::{Request, Status};

use crate::status;

/// Header that names the namespace.
const NAMESPACE: &str = "containerd-namespace";

/// Who is at the other end of a connection. Whoever accepts connections puts it into the extensions of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process, where the kernel knows it.
    pub pid: Option<i32>,
}

/// When the client wants its answer. [`Api`](crate::Api) puts it into the extensions of requests that say so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(pub(crate) Instant);

/// How much of the time is left that the client of a request gave it, if it gave any.
pub(crate) fn time_left<T>(request: &Request<T>) -> Option<Duration> {
    let Deadline(at) = request.extensions().get::<Deadline>()?;
    Some(at.saturating_duration_since(Instant::now()))
}

/// The namespace of a request.
pub(crate) fn namespace<T>(request: &Request<T>) -> Result<Namespace, Status> {
    let text = request.metadata().get(NAMESPACE).map_or(Ok(""), |value| value.to_str());
    // What is no text is no identifier either.
    let text = text.unwrap_or("\u{fffd}");
    if text.is_empty() {
        return Err(status::of(Kind::FailedPrecondition, "namespace is required"));
    }
    text.parse().map_err(|error| status::within("namespace validation: ", &identifier(text, &error)))
}

/// The id of an exec that is about to be made.
pub(crate) fn new_exec(text: &str) -> Result<ExecId, Status> {
    if text.is_empty() {
        return Err(status::of(Kind::InvalidArgument, "exec id cannot be empty"));
    }
    text.parse()
        .map_err(|error| status::within(&format!("invalid exec id {text}: "), &identifier(text, &error)))
}

/// The key of a task that is asked for; `None` if no task can have it.
pub(crate) fn key(namespace: &Namespace, id: &str) -> Option<TaskKey> {
    Some(TaskKey::new(namespace.clone(), id.parse::<TaskId>().ok()?))
}

/// A text that is no identifier, named in the error where the error does not.
fn identifier(text: &str, error: &IdError) -> Status {
    match error {
        IdError::TooLong { .. } => status::of(
            Kind::InvalidArgument,
            format!("identifier {text:?} greater than maximum length (76 characters)"),
        ),
        other => status::of_id(other),
    }
}

/// One line in the log for what begins, ends or reaches into a process: who did what to whom.
pub(crate) fn audit<T>(
    request: &Request<T>,
    method: &'static str,
    task: &TaskKey,
    exec: &str,
    signal: Option<u32>,
) {
    let (uid, pid) = who(request);
    let (namespace, task) = (&task.namespace, &task.id);
    let exec = Some(exec).filter(|exec| !exec.is_empty());
    tracing::info!(target: "shimkeeper::audit", method, %namespace, %task, exec, signal, uid, pid, "call");
}

/// The same of a sandbox.
pub(crate) fn audit_sandbox<T>(request: &Request<T>, method: &'static str, sandbox: &SandboxKey) {
    let (uid, pid) = who(request);
    let (namespace, sandbox) = (&sandbox.namespace, &sandbox.id);
    tracing::info!(target: "shimkeeper::audit", method, %namespace, %sandbox, uid, pid, "call");
}

/// User and process of the peer, as the kernel names them.
fn who<T>(request: &Request<T>) -> (Option<u32>, Option<i32>) {
    let peer = request.extensions().get::<Peer>();
    (peer.map(|peer| peer.uid), peer.and_then(|peer| peer.pid))
}
