// SPDX-License-Identifier: Apache-2.0
//! One container by hand: its bundle, and the shim that is asked for everything.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_proto::google::protobuf::{Any, Empty};

use super::wire::Wire;
use crate::error::BenchError;
use crate::site::PROCESS;

/// What the first process of a container is called among its processes.
pub(super) const INIT: &str = "";

/// A container whose shim answers.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    bundle: PathBuf,
    wire: Wire,
    shim: u32,
    process: OwnedFd,
    _log: fs::File,
}

impl Container {
    /// Asks for it; tells when there was an answer. Whom to wait for at the end is asked after that: a script that owns
    /// its shims knows it otherwise.
    pub(super) fn create(
        mut wire: Wire,
        id: String,
        bundle: PathBuf,
        log: fs::File,
        options: Any,
        answered: impl FnOnce(),
    ) -> Result<Self, BenchError> {
        let request = task::CreateTaskRequest {
            id: id.clone(),
            bundle: bundle.to_string_lossy().into_owned(),
            options: Some(options),
            ..task::CreateTaskRequest::default()
        };
        let _: task::CreateTaskResponse = wire.call("Create", &request)?;
        answered();
        let told: task::ConnectResponse = wire.call("Connect", &task::ConnectRequest { id: id.clone() })?;
        let process = open_process(told.shim_pid)?;
        Ok(Self { id, bundle, wire, shim: told.shim_pid, process, _log: log })
    }

    pub(super) fn add(&mut self, exec: &str, process: Bytes) -> Result<(), BenchError> {
        let request = task::ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            spec: Some(Any { type_url: PROCESS.to_owned(), value: process }),
            ..task::ExecProcessRequest::default()
        };
        self.wire.call::<Empty>("Exec", &request).map(drop)
    }

    pub(super) fn start(&mut self, exec: &str) -> Result<(), BenchError> {
        let request = task::StartRequest { id: self.id.clone(), exec_id: exec.to_owned() };
        self.wire.call::<task::StartResponse>("Start", &request).map(drop)
    }

    pub(super) fn wait(&mut self, exec: &str) -> Result<u32, BenchError> {
        let request = task::WaitRequest { id: self.id.clone(), exec_id: exec.to_owned() };
        self.wire.call("Wait", &request).map(|exit: task::WaitResponse| exit.exit_status)
    }

    pub(super) fn kill(&mut self) -> Result<(), BenchError> {
        let request =
            task::KillRequest { id: self.id.clone(), signal: 9, all: true, ..task::KillRequest::default() };
        self.wire.call::<Empty>("Kill", &request).map(drop)
    }

    pub(super) fn delete(&mut self, exec: &str) -> Result<(), BenchError> {
        let request = task::DeleteRequest { id: self.id.clone(), exec_id: exec.to_owned() };
        self.wire.call::<task::DeleteResponse>("Delete", &request).map(drop)
    }

    /// The end of the shim, of a container that is deleted, and of the bundle. Answers who the shim was.
    pub(super) fn end(mut self) -> Result<u32, BenchError> {
        // It may end faster than its answer gets out; that it has ended is seen below.
        let _: Result<Empty, _> =
            self.wire.call("Shutdown", &task::ShutdownRequest { id: self.id, now: false });
        let mut fds = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut fds, None).map_err(|e| BenchError::io("wait for the shim", e))?;
        fs::remove_dir_all(&self.bundle).map_err(|e| BenchError::io("remove a bundle", e))?;
        Ok(self.shim)
    }
}

fn open_process(pid: u32) -> Result<OwnedFd, BenchError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| BenchError::Launch { said: "no process id".to_owned() })?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|e| BenchError::io("open the shim's process", e))
}
