// SPDX-License-Identifier: Apache-2.0
//! What only looks at a container, or changes nothing that outlives the call.

use prost::{Message, Name};
use shimkeeper_proto::containerd::runc::v1::ProcessDetails;
use shimkeeper_proto::containerd::task::v3 as api;
use shimkeeper_proto::containerd::v1::types::ProcessInfo;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_proto::io::containerd::cgroups::v2::{Metrics, PidsStat};

use super::{Failure, Model, Phase, Process, Task, lifecycle};
use crate::stamp;

impl Model {
    pub(crate) fn state(&self, request: &api::StateRequest) -> Result<api::StateResponse, Failure> {
        self.with(&request.id, |task| {
            let bundle = task.bundle.clone();
            let paused = task.init.phase == Phase::Paused;
            let process = task.process(&request.exec_id)?;
            // A frozen container freezes its execs, whatever they last did.
            let phase = if paused && process.is_live() { Phase::Paused } else { process.phase };
            Ok(api::StateResponse {
                id: request.id.clone(),
                bundle,
                pid: process.pid,
                status: phase.on_the_wire(),
                stdin: process.stdio.stdin.clone(),
                stdout: process.stdio.stdout.clone(),
                stderr: process.stdio.stderr.clone(),
                terminal: process.stdio.terminal,
                exit_status: process.end().map_or(0, |end| end.status),
                exited_at: Some(stamp::of(process.end().map(|end| end.at))),
                exec_id: request.exec_id.clone(),
            })
        })
    }

    pub(crate) async fn wait(&self, request: &api::WaitRequest) -> Result<api::WaitResponse, Failure> {
        let mut ended =
            self.with(&request.id, |task| Ok(task.process(&request.exec_id)?.ended.subscribe()))?;
        // The sender goes only with the process, and that is deleted only after it ended.
        let end = lifecycle::wait(&mut ended).await.ok_or_else(Failure::no_container)?;
        Ok(api::WaitResponse { exit_status: end.status, exited_at: Some(stamp::of(Some(end.at))) })
    }

    pub(crate) fn pids(&self, id: &str) -> Result<api::PidsResponse, Failure> {
        self.with(id, |task| {
            let mut processes = Vec::new();
            if task.init.phase != Phase::Stopped {
                processes.push(ProcessInfo { pid: task.init.pid, info: None });
            }
            for (exec_id, exec) in task.execs.iter().filter(|(_, exec)| exec.is_live()) {
                let details = ProcessDetails { exec_id: exec_id.clone() };
                processes.push(ProcessInfo { pid: exec.pid, info: Some(any(&details)) });
            }
            Ok(api::PidsResponse { processes })
        })
    }

    pub(crate) fn stats(&self, id: &str) -> Result<api::StatsResponse, Failure> {
        self.with(id, |task| {
            let current = task.live().count().try_into().unwrap_or(u64::MAX);
            let pids = PidsStat { current, ..PidsStat::default() };
            let metrics = Metrics { pids: Some(pids), ..Metrics::default() };
            Ok(api::StatsResponse { stats: Some(any(&metrics)) })
        })
    }

    pub(crate) fn connect(&self, id: &str, shim_pid: u32) -> api::ConnectResponse {
        let task_pid = self.tasks().get(id).map_or(0, |task| task.init.pid);
        api::ConnectResponse { shim_pid, task_pid, version: String::new() }
    }

    pub(crate) fn close_io(&self, request: &api::CloseIoRequest) -> Result<(), Failure> {
        self.with(&request.id, |task| {
            if let (true, Some(control)) = (request.stdin, &task.process(&request.exec_id)?.control) {
                control.close_stdin();
            }
            Ok(())
        })
    }

    pub(crate) fn resize(&self, request: &api::ResizePtyRequest) -> Result<(), Failure> {
        self.with(&request.id, |task| match task.process(&request.exec_id)?.phase {
            Phase::Stopped => Err(Failure::unknown("cannot resize a stopped container")),
            _ => Ok(()),
        })
    }

    pub(crate) fn update(&self, request: &api::UpdateTaskRequest) -> Result<(), Failure> {
        self.with(&request.id, |task| match task.init.phase {
            Phase::Stopped => Err(Failure::unknown("cannot update a stopped container")),
            _ => Ok(()),
        })
    }
}

impl Task {
    fn live(&self) -> impl Iterator<Item = &Process> {
        self.execs.values().chain([&self.init]).filter(|process| process.is_live())
    }
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::full_name(), value: message.encode_to_vec().into() }
}
