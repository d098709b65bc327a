// SPDX-License-Identifier: Apache-2.0
//! Adding a process to a task.

use std::sync::Arc;

use bytes::Bytes;
use shimkeeper_core::{Any, ExecId, Kind, ProcessKey};
use shimkeeper_proto::containerd::task::v3::ExecProcessRequest;

use crate::convert;
use crate::error::{Error, Refused, Step};
use crate::limit::Limit;
use crate::oci;
use crate::process::{self, Process};
use crate::shim::Shim;
use crate::stdio::Stdio;

/// The type of an OCI process in an `Any`.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// A process to be added to a task.
#[derive(Clone, Debug)]
pub struct ExecTask {
    id: ExecId,
    process: Bytes,
    stdio: Stdio,
}

impl ExecTask {
    /// A process as the OCI runtime specification describes it (JSON of `process`), with no input or output.
    ///
    /// There is no exec without a description: it makes shims crash, and their containers with them.
    pub fn new(id: ExecId, process: impl Into<Bytes>) -> Self {
        Self { id, process: process.into(), stdio: Stdio::Null }
    }

    /// With input and output.
    pub fn stdio(mut self, stdio: Stdio) -> Self {
        self.stdio = stdio;
        self
    }
}

pub(super) async fn exec(shim: &Arc<Shim>, exec: ExecTask, limit: Limit) -> Result<Process, Error> {
    let key = ProcessKey::Exec(exec.id.clone());
    let about = |error: Error| error.of(&shim.key).of_process(&key);
    if exec.id.as_str() == shim.key.id.as_str() {
        return Err(about(Error::new(Step::Check, Refused::ExecNamedLikeTask)));
    }
    oci::check_process(&exec.process).map_err(|e| about(Error::new(Step::Check, e)))?;
    exec.stdio.make_file(&shim.env).await.map_err(about)?;
    shim.ledger.add_exec(&exec.id).map_err(|r| about(Error::new(Step::Call("Exec"), r)))?;
    let prepared = exec.stdio.prepare(&shim.bundle.dir(), &key).inspect_err(|_| {
        shim.ledger.remove_exec(&exec.id);
    });
    let prepared = prepared.map_err(about)?;
    let paths = prepared.paths.clone();
    let request = ExecProcessRequest {
        id: shim.key.id.to_string(),
        exec_id: exec.id.to_string(),
        terminal: paths.terminal,
        stdin: paths.stdin,
        stdout: paths.stdout,
        stderr: paths.stderr,
        spec: Some(convert::any(Any::new(PROCESS_TYPE, exec.process))),
    };
    let plumbing = prepared.plumb(shim, &key);
    if let Some(plumbing) = plumbing {
        shim.set_plumbing(&key, plumbing);
    }
    let deadline = limit.begin().cap(shim.deadlines().exec);
    match shim.call("Exec", deadline, |c, call| async move { c.exec(&call, &request).await }).await {
        Ok(()) => {
            crate::failpoint::hit("E1");
            Ok(Process::new(shim.clone(), exec.id))
        }
        Err(error) => {
            // Without an answer the shim may have taken it: the id stays until it is deleted.
            if !matches!(error.kind(), Kind::DeadlineExceeded | Kind::Unavailable) {
                shim.close_plumbing(&key);
                shim.ledger.remove_exec(&exec.id);
            }
            Err(process::meant(error).of_process(&key))
        }
    }
}
