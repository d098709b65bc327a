// SPDX-License-Identifier: Apache-2.0
//! The Task API, all seventeen calls of it, as one table.
//!
//! Versions 2 and 3 of the service have the same messages, field by field, so there is one set of messages, and the
//! version is a matter of the service's name. The methods of [`Connection`] made here are what a shim can do; what
//! should be asked of it when is decided above.

use shimkeeper_proto::containerd::task::v3 as task;

use crate::method::api_methods;
use crate::{CallError, Connection, LongAnswer, TaskApi};

api_methods! {
    TaskApi::service, "containerd.task.v3.Task";


    /// The state of a process.
    state = State(task::StateRequest) -> task::StateResponse;
    /// Creates the container, with its init not yet started.
    create = Create(task::CreateTaskRequest) -> task::CreateTaskResponse;
    /// Starts the init, or an exec that was added.
    start = Start(task::StartRequest) -> task::StartResponse;
    /// Removes a process that has ended, and says how it did.
    delete = Delete(task::DeleteRequest) -> task::DeleteResponse;
    /// The processes in the container.
    pids = Pids(task::PidsRequest) -> task::PidsResponse;
    /// Freezes the container.
    pause = Pause(task::PauseRequest) -> ();
    /// Thaws the container.
    resume = Resume(task::ResumeRequest) -> ();
    /// Writes the container's state to disk.
    checkpoint = Checkpoint(task::CheckpointTaskRequest) -> ();
    /// Sends a signal.
    kill = Kill(task::KillRequest) -> ();
    /// Adds a process, not yet started.
    exec = Exec(task::ExecProcessRequest) -> ();
    /// Tells a process how large its terminal is.
    resize_pty = ResizePty(task::ResizePtyRequest) -> ();
    /// Closes a process's standard input.
    close_io = CloseIO(task::CloseIoRequest) -> ();
    /// Changes the container's limits.
    update = Update(task::UpdateTaskRequest) -> ();
    /// Waits for a process's end, and says how it came.
    wait = Wait(task::WaitRequest) -> task::WaitResponse;
    /// What the container uses, as its runtime counts it.
    stats = Stats(task::StatsRequest) -> task::StatsResponse;
    /// The pids of the shim and the init; 0 for what is unknown. Asks nothing of the container.
    connect = Connect(task::ConnectRequest) -> task::ConnectResponse;
    /// Ends the shim, unless it still has containers.
    shutdown = Shutdown(task::ShutdownRequest) -> ();
}

impl Connection {
    /// The same as [`wait`](Self::wait), ready when it is sent: what then waits for the answer is small.
    ///
    /// # Errors
    /// As those of [`wait`](Self::wait).
    pub async fn begin_wait(
        &self,
        request: task::WaitRequest,
    ) -> Result<LongAnswer<task::WaitResponse>, CallError> {
        self.begin::<method::Wait>(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Method;

    #[test]
    fn the_table_is_the_service() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 17);
        assert_eq!(<method::CloseIO as Method>::GRPC_PATH, "/containerd.task.v3.Task/CloseIO");
    }
}
