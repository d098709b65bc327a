// SPDX-License-Identifier: Apache-2.0
//! Events a shim owes and has not sent, made in its place: the step before one that has arrived, or the end of a task
//! whose shim is dead. Exit and delete stand beside their decoding in `task_event.rs`.

use std::path::Path;

use shimkeeper_core::{ExecId, ProcessKey, TaskKey};
use shimkeeper_proto::containerd::events as wire;

use crate::envelope::Envelope;
use crate::topic::Topic;

impl Envelope {
    /// A task was created in this bundle.
    pub fn task_create(task: &TaskKey, bundle: &Path, pid: u32) -> Self {
        let message = wire::TaskCreate {
            container_id: task.id.to_string(),
            bundle: bundle.to_string_lossy().into_owned(),
            pid,
            ..wire::TaskCreate::default()
        };
        Self::of_task(task, Topic::TASK_CREATE, &message)
    }

    /// A process was started: the init, or an exec.
    pub fn process_started(task: &TaskKey, process: &ProcessKey, pid: u32) -> Self {
        let container_id = task.id.to_string();
        match process {
            ProcessKey::Init => {
                Self::of_task(task, Topic::TASK_START, &wire::TaskStart { container_id, pid })
            }
            ProcessKey::Exec(exec) => {
                let message = wire::TaskExecStarted { container_id, exec_id: exec.to_string(), pid };
                Self::of_task(task, Topic::TASK_EXEC_STARTED, &message)
            }
        }
    }

    /// An exec was added.
    pub fn exec_added(task: &TaskKey, exec: &ExecId) -> Self {
        let message = wire::TaskExecAdded { container_id: task.id.to_string(), exec_id: exec.to_string() };
        Self::of_task(task, Topic::TASK_EXEC_ADDED, &message)
    }
}
