// SPDX-License-Identifier: Apache-2.0
//! What changes a container: create, start, exec, kill, pause, delete — and processes that end.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use shimkeeper_proto::containerd::events::{
    TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIo, TaskPaused,
    TaskResumed, TaskStart,
};
use shimkeeper_proto::containerd::task::v3 as api;
use tokio::sync::watch;

use super::{Behaviour, Ended, Failure, Launch, Model, Phase, Process, Spawned, StdioPaths, Task};
use crate::stamp;

impl Model {
    pub(crate) fn create(
        &self,
        request: &api::CreateTaskRequest,
    ) -> Result<api::CreateTaskResponse, Failure> {
        let spec = fs::read(Path::new(&request.bundle).join("config.json")).unwrap_or_default();
        let behaviour = Behaviour::of_spec(&spec, false);
        if behaviour == Behaviour::Missing {
            return Err(Failure::unknown(
                "OCI runtime create failed: exec: \"missing\": executable file not found in $PATH: unknown",
            ));
        }
        let stdio = StdioPaths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let mut tasks = self.tasks();
        if tasks.contains_key(&request.id) {
            return Err(Failure::exists(&request.id));
        }
        let mut init = Process::new(behaviour, stdio);
        self.bring_to_life(&request.id, "", &request.bundle, &mut init)?;
        let pid = init.pid;
        // The `delete` action of a later process finds the pid here, as runc leaves it.
        let _ = fs::write(Path::new(&request.bundle).join("init.pid"), pid.to_string());
        self.shared.outbox.publish("/tasks/create", &created(request, pid));
        let task = Task { bundle: request.bundle.clone(), init, execs: std::collections::BTreeMap::new() };
        tasks.insert(request.id.clone(), task);
        Ok(api::CreateTaskResponse { pid })
    }

    pub(crate) fn start(&self, request: &api::StartRequest) -> Result<api::StartResponse, Failure> {
        let (id, exec_id) = (&request.id, &request.exec_id);
        self.with(id, |task| {
            let bundle = task.bundle.clone();
            let process = task.process_mut(exec_id)?;
            if process.phase != Phase::Created {
                return Err(Failure::unknown(format!("cannot start a {} process", process.phase.word())));
            }
            if !exec_id.is_empty() {
                if process.behaviour == Behaviour::Missing {
                    return Err(Failure::unknown(
                        "OCI runtime exec failed: exec: \"missing\": executable file not found in $PATH: unknown",
                    ));
                }
                self.bring_to_life(id, exec_id, &bundle, process)?;
            }
            process.phase = Phase::Running;
            let pid = process.pid;
            // The start is queued before the process may end, so its exit cannot overtake it.
            if exec_id.is_empty() {
                let event = TaskStart { container_id: id.clone(), pid };
                self.shared.outbox.publish_start("/tasks/start", pid, &event);
            } else {
                let event = TaskExecStarted { container_id: id.clone(), exec_id: exec_id.clone(), pid };
                self.shared.outbox.publish_start("/tasks/exec-started", pid, &event);
            }
            if let Some(control) = &process.control {
                control.begin();
            }
            Ok(api::StartResponse { pid })
        })
    }

    pub(crate) fn exec(&self, request: &api::ExecProcessRequest, spec: &[u8]) -> Result<(), Failure> {
        self.with(&request.id, |task| {
            if task.execs.contains_key(&request.exec_id) {
                return Err(Failure::exists(&request.exec_id));
            }
            if matches!(task.init.phase, Phase::Paused | Phase::Stopped) {
                return Err(Failure::unknown(format!("cannot exec in a {} state", task.init.phase.word())));
            }
            let stdio = StdioPaths {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
            };
            let process = Process::new(Behaviour::of_spec(spec, true), stdio);
            task.execs.insert(request.exec_id.clone(), process);
            let event = TaskExecAdded { container_id: request.id.clone(), exec_id: request.exec_id.clone() };
            self.shared.outbox.publish("/tasks/exec-added", &event);
            Ok(())
        })
    }

    pub(crate) fn kill(&self, request: &api::KillRequest) -> Result<(), Failure> {
        let signal = i32::try_from(request.signal).unwrap_or(i32::MAX);
        self.with(&request.id, |task| {
            if request.all && request.exec_id.is_empty() {
                for exec in task.execs.values().filter(|exec| exec.is_live()) {
                    exec.signal(signal)?;
                }
            }
            task.process(&request.exec_id)?.signal(signal)
        })
    }

    pub(crate) fn pause(&self, id: &str) -> Result<(), Failure> {
        self.with(id, |task| {
            match task.init.phase {
                Phase::Running => {}
                Phase::Created => return Err(Failure::unknown("cannot pause task in created state")),
                phase => return Err(Failure::unknown(format!("cannot pause a {} container", phase.word()))),
            }
            task.freeze(true)?;
            self.shared.outbox.publish("/tasks/paused", &TaskPaused { container_id: id.to_owned() });
            Ok(())
        })
    }

    pub(crate) fn resume(&self, id: &str) -> Result<(), Failure> {
        self.with(id, |task| {
            match task.init.phase {
                Phase::Paused => {}
                Phase::Created => return Err(Failure::unknown("cannot resume task in created state")),
                Phase::Running => return Err(Failure::unknown("cannot resume a running process")),
                Phase::Stopped => return Err(Failure::unknown("cannot resume a stopped container")),
            }
            task.freeze(false)?;
            self.shared.outbox.publish("/tasks/resumed", &TaskResumed { container_id: id.to_owned() });
            Ok(())
        })
    }

    pub(crate) fn checkpoint(&self, request: &api::CheckpointTaskRequest) -> Result<(), Failure> {
        self.with(&request.id, |task| match task.init.phase {
            Phase::Running | Phase::Paused => {
                fs::create_dir_all(&request.path).map_err(|e| Failure::unknown(e.to_string()))?;
                let event =
                    TaskCheckpointed { container_id: request.id.clone(), checkpoint: request.path.clone() };
                self.shared.outbox.publish("/tasks/checkpointed", &event);
                Ok(())
            }
            Phase::Created => Err(Failure::unknown("cannot checkpoint a task in created state")),
            Phase::Stopped => Err(Failure::unknown("cannot checkpoint a stopped container")),
        })
    }

    /// Forgets a process that ended. The init of a container that was never started is killed first.
    pub(crate) async fn delete(&self, request: &api::DeleteRequest) -> Result<api::DeleteResponse, Failure> {
        let (id, exec_id) = (&request.id, &request.exec_id);
        let mut ended = self.with(id, |task| {
            let process = task.process(exec_id)?;
            match process.phase {
                Phase::Created if process.control.is_some() => process.signal(9)?,
                Phase::Created | Phase::Stopped => {}
                phase => return Err(Failure::unknown(format!("cannot delete a {} process", phase.word()))),
            }
            Ok((process.control.is_some() || process.pid != 0).then(|| process.ended.subscribe()))
        })?;
        if let Some(ended) = &mut ended {
            wait(ended).await;
        }
        let mut tasks = self.tasks();
        let task = tasks.get_mut(id).ok_or_else(Failure::no_container)?;
        let process = task.process(exec_id)?;
        let (pid, end) = (process.pid, process.end());
        let response = api::DeleteResponse {
            pid,
            exit_status: end.map_or(0, |end| end.status),
            exited_at: Some(stamp::of(end.map(|end| end.at))),
        };
        if exec_id.is_empty() {
            tasks.remove(id);
            let event = TaskDelete {
                container_id: id.clone(),
                pid,
                exit_status: response.exit_status,
                exited_at: response.exited_at,
                ..TaskDelete::default()
            };
            self.shared.outbox.publish("/tasks/delete", &event);
        } else {
            task.execs.remove(exec_id);
        }
        Ok(response)
    }

    /// Spawns a process and watches it to its end.
    fn bring_to_life(
        &self,
        id: &str,
        exec: &str,
        bundle: &str,
        process: &mut Process,
    ) -> Result<(), Failure> {
        let label = if exec.is_empty() { bundle.to_owned() } else { format!("{bundle}#{exec}") };
        let launch = Launch { label, behaviour: &process.behaviour, stdio: &process.stdio };
        let spawned = self.shared.spawner.spawn(&launch).map_err(|e| Failure::unknown(e.to_string()))?;
        let Spawned { pid, control, exited } = spawned;
        process.pid = pid;
        process.control = Some(control);
        let (model, id, exec) = (self.clone(), id.to_owned(), exec.to_owned());
        self.shared.tracker.spawn(async move {
            let status = exited.await;
            model.ended(&id, &exec, pid, status).await;
        });
        Ok(())
    }

    /// A process is dead. The init takes the execs with it, and its exit is told last.
    async fn ended(&self, id: &str, exec_id: &str, pid: u32, status: u32) {
        let at = SystemTime::now();
        if exec_id.is_empty() {
            for mut exec in self.kill_execs(id) {
                wait(&mut exec).await;
            }
        }
        // A container that is gone was deleted while this was under way; it cannot be, for delete waits for this.
        let _ = self.with(id, |task| {
            let process = task.process_mut(exec_id)?;
            process.phase = Phase::Stopped;
            process.control = None;
            let event = TaskExit {
                container_id: id.to_owned(),
                id: if exec_id.is_empty() { id.to_owned() } else { exec_id.to_owned() },
                pid,
                exit_status: status,
                exited_at: Some(stamp::of(Some(at))),
            };
            self.shared.outbox.publish_exit(&event);
            process.ended.send_replace(Some(Ended { status, at }));
            Ok(())
        });
    }

    fn kill_execs(&self, id: &str) -> Vec<watch::Receiver<Option<Ended>>> {
        let kill = |task: &mut Task| {
            let live = task.execs.values().filter(|exec| exec.control.is_some());
            Ok(live
                .map(|exec| {
                    // One that just ended needs no signal.
                    let _ = exec.signal(9);
                    exec.ended.subscribe()
                })
                .collect())
        };
        self.with(id, kill).unwrap_or_default()
    }
}

impl Task {
    fn freeze(&mut self, frozen: bool) -> Result<(), Failure> {
        let phase = if frozen { Phase::Paused } else { Phase::Running };
        let execs = self.execs.values_mut().filter(|exec| exec.is_live());
        for process in execs.chain([&mut self.init]) {
            if let Some(control) = &process.control {
                control.freeze(frozen)?;
            }
            process.phase = phase;
        }
        Ok(())
    }
}

/// Waits for the end of a process.
pub(super) async fn wait(ended: &mut watch::Receiver<Option<Ended>>) -> Option<Ended> {
    ended.wait_for(Option::is_some).await.ok().and_then(|end| *end)
}

fn created(request: &api::CreateTaskRequest, pid: u32) -> TaskCreate {
    TaskCreate {
        container_id: request.id.clone(),
        bundle: request.bundle.clone(),
        rootfs: request.rootfs.clone(),
        io: Some(TaskIo {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        }),
        checkpoint: request.checkpoint.clone(),
        pid,
    }
}
