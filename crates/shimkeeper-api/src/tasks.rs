// SPDX-License-Identifier: Apache-2.0
//! `Tasks`: containers that run. Handlers only wait; what has begun goes on at the manager's when a client leaves.
//!
//! A task whose record is gone can still be asked for, killed and deleted. Only where there is no task does the record
//! say which of the two is missing.

mod about;
mod create;
mod process;

use std::sync::Arc;

use shimkeeper::Kind;
use shimkeeper::{Cause, Checkpoint, ExecTask, Namespace, Refused, Resources, Stdio, StdioPaths, Task};
use shimkeeper_proto::containerd::runc::v1::CheckpointOptions;
use shimkeeper_proto::containerd::services::tasks::v1 as wire;
use shimkeeper_proto::containerd::services::tasks::v1::tasks_server::Tasks;
use shimkeeper_proto::google::protobuf::Empty;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{caller, convert, status};
pub(crate) use process::Target;

pub(crate) struct TasksService(pub(crate) Arc<Inner>);

impl Inner {
    /// The task of a request, through a handle that keeps to the request's deadline.
    pub(crate) async fn task<T>(&self, request: &Request<T>, id: &str) -> Result<Task, Status> {
        let namespace = caller::namespace(request)?;
        let Some(key) = caller::key(&namespace, id) else { return Err(self.absent(&namespace, id)) };
        let task = self.manager.find(&key).await.map_err(|error| match error.cause() {
            Cause::Refused(Refused::NoSuchTask | Refused::BeingCreated) => self.absent(&namespace, id),
            _ => status::of_library(&error),
        })?;
        Ok(match caller::time_left(request) {
            Some(left) => task.within(left),
            None => task,
        })
    }

    /// The process of a request.
    pub(crate) async fn target<T>(
        &self,
        request: &Request<T>,
        id: &str,
        exec: &str,
    ) -> Result<Target, Status> {
        Target::of(self.task(request, id).await?, exec, caller::time_left(request))
    }

    /// Why there is no such task: no container, or a container without one.
    fn absent(&self, namespace: &Namespace, id: &str) -> Status {
        match self.store.containers(namespace).require(id) {
            Ok(()) => status::no_task(id),
            Err(error) => status::of_store(&error),
        }
    }
}

#[async_trait]
impl Tasks for TasksService {
    async fn create(
        &self,
        request: Request<wire::CreateTaskRequest>,
    ) -> Result<Response<wire::CreateTaskResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        if let Some(key) = caller::key(&namespace, &request.get_ref().container_id) {
            caller::audit(&request, "Create", &key, "", None);
        }
        let task = create::request(&self.0.store, &namespace, request.into_inner()).await?;
        let task = self.0.manager.create(task).await.map_err(|e| status::of_library(&e))?;
        let container_id = task.key().id.to_string();
        Ok(Response::new(wire::CreateTaskResponse { container_id, pid: task.pid().unwrap_or_default() }))
    }

    async fn start(
        &self,
        request: Request<wire::StartRequest>,
    ) -> Result<Response<wire::StartResponse>, Status> {
        let wire::StartRequest { container_id, exec_id } = request.get_ref();
        let target = self.0.target(&request, container_id, exec_id).await?;
        caller::audit(&request, "Start", target.task().key(), exec_id, None);
        let pid = target.start().await?;
        Ok(Response::new(wire::StartResponse { pid }))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteTaskRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let task = self.0.task(&request, &request.get_ref().container_id).await?;
        caller::audit(&request, "Delete", task.key(), "", None);
        let exit = task.delete().await.map_err(|e| status::of_library(&e))?;
        let (exit_status, exited_at) = convert::exit(Some(&exit));
        let answer = wire::DeleteResponse { id: String::new(), pid: exit.pid, exit_status, exited_at };
        Ok(Response::new(answer))
    }

    async fn delete_process(
        &self,
        request: Request<wire::DeleteProcessRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let wire::DeleteProcessRequest { container_id, exec_id } = request.get_ref();
        if exec_id.is_empty() {
            // To a shim it would mean the task itself.
            return Err(status::missing("exec id"));
        }
        let Target::Exec(task, process) = self.0.target(&request, container_id, exec_id).await? else {
            return Err(status::no_process(exec_id));
        };
        caller::audit(&request, "DeleteProcess", task.key(), exec_id, None);
        let exit = process.delete().await.map_err(|e| status::of_library(&e))?;
        // One without a process id never ran, so it did not end either.
        let (exit_status, exited_at) = convert::exit(Some(&exit).filter(|exit| exit.pid != 0));
        let answer = wire::DeleteResponse { id: exec_id.clone(), pid: exit.pid, exit_status, exited_at };
        Ok(Response::new(answer))
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::GetResponse>, Status> {
        let wire::GetRequest { container_id, exec_id } = request.get_ref();
        let target = self.0.target(&request, container_id, exec_id).await?;
        let process = Some(target.message().await?);
        Ok(Response::new(wire::GetResponse { process }))
    }

    async fn list(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Result<Response<wire::ListTasksResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let tasks = about::states(about::of_namespace(&self.0.manager, &namespace).await).await;
        Ok(Response::new(wire::ListTasksResponse { tasks }))
    }

    async fn kill(&self, request: Request<wire::KillRequest>) -> Result<Response<Empty>, Status> {
        let wire::KillRequest { container_id, exec_id, signal, all } = request.get_ref();
        let target = self.0.target(&request, container_id, exec_id).await?;
        caller::audit(&request, "Kill", target.task().key(), exec_id, Some(*signal));
        target.kill(*signal, *all).await?;
        Ok(Response::new(Empty::default()))
    }

    async fn exec(&self, request: Request<wire::ExecProcessRequest>) -> Result<Response<Empty>, Status> {
        let exec = request.get_ref();
        let id = caller::new_exec(&exec.exec_id)?;
        // A shim that gets none crashes, and its container with it.
        let spec = exec.spec.clone().ok_or_else(|| status::missing("process spec"))?;
        let task = self.0.task(&request, &exec.container_id).await?;
        caller::audit(&request, "Exec", task.key(), &exec.exec_id, None);
        let stdio = Stdio::Paths(StdioPaths {
            stdin: exec.stdin.clone(),
            stdout: exec.stdout.clone(),
            stderr: exec.stderr.clone(),
            terminal: exec.terminal,
        });
        let made = task.exec(ExecTask::new(id, spec.value).stdio(stdio)).await;
        made.map(|_| Response::new(Empty::default())).map_err(|e| status::of_library(&e))
    }

    async fn resize_pty(&self, request: Request<wire::ResizePtyRequest>) -> Result<Response<Empty>, Status> {
        let wire::ResizePtyRequest { container_id, exec_id, width, height } = request.get_ref();
        self.0.target(&request, container_id, exec_id).await?.resize(*width, *height).await?;
        Ok(Response::new(Empty::default()))
    }

    async fn close_io(&self, request: Request<wire::CloseIoRequest>) -> Result<Response<Empty>, Status> {
        let wire::CloseIoRequest { container_id, exec_id, stdin } = request.get_ref();
        let target = self.0.target(&request, container_id, exec_id).await?;
        if *stdin {
            target.close_stdin().await?;
        }
        Ok(Response::new(Empty::default()))
    }

    async fn pause(&self, request: Request<wire::PauseTaskRequest>) -> Result<Response<Empty>, Status> {
        let task = self.0.task(&request, &request.get_ref().container_id).await?;
        task.pause().await.map(|()| Response::new(Empty::default())).map_err(|e| status::of_library(&e))
    }

    async fn resume(&self, request: Request<wire::ResumeTaskRequest>) -> Result<Response<Empty>, Status> {
        let task = self.0.task(&request, &request.get_ref().container_id).await?;
        task.resume().await.map(|()| Response::new(Empty::default())).map_err(|e| status::of_library(&e))
    }

    async fn list_pids(
        &self,
        request: Request<wire::ListPidsRequest>,
    ) -> Result<Response<wire::ListPidsResponse>, Status> {
        let task = self.0.task(&request, &request.get_ref().container_id).await?;
        let pids = task.pids().await.map_err(|e| status::of_library(&e))?;
        let processes = pids.into_iter().map(about::pid).collect();
        Ok(Response::new(wire::ListPidsResponse { processes }))
    }

    async fn checkpoint(
        &self,
        request: Request<wire::CheckpointTaskRequest>,
    ) -> Result<Response<wire::CheckpointTaskResponse>, Status> {
        let task = self.0.task(&request, &request.get_ref().container_id).await?;
        let given = request.get_ref().options.clone().unwrap_or_default();
        let read = shimkeeper_proto::unpack::<CheckpointOptions>(&given).transpose();
        let read = read.map_err(|e| {
            status::of(Kind::InvalidArgument, format!("checkpoint options cannot be read: {e}"))
        })?;
        let directory = read.map(|options| options.image_path).unwrap_or_default();
        if directory.is_empty() {
            return Err(status::of(
                Kind::NotImplemented,
                "shimkeeper has no content store to write a checkpoint to: name a directory as image path",
            ));
        }
        let checkpoint = Checkpoint::into_directory(directory).options(convert::from_any(given));
        task.checkpoint(&checkpoint).await.map_err(|e| status::of_library(&e))?;
        Ok(Response::new(wire::CheckpointTaskResponse::default()))
    }

    async fn update(&self, request: Request<wire::UpdateTaskRequest>) -> Result<Response<Empty>, Status> {
        let update = request.get_ref();
        let task = self.0.task(&request, &update.container_id).await?;
        // A shim that gets none crashes, and its container with it.
        let given = update.resources.clone().ok_or_else(|| status::missing("resources"))?;
        let resources = Resources::from_json(given.value).annotations(update.annotations.clone());
        let updated = task.update(&resources).await;
        updated.map(|()| Response::new(Empty::default())).map_err(|e| status::of_library(&e))
    }

    async fn metrics(
        &self,
        request: Request<wire::MetricsRequest>,
    ) -> Result<Response<wire::MetricsResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        let filters = shimkeeper::events::Filters::parse(&request.get_ref().filters);
        let filters = filters.map_err(|e| status::of_filter(&e))?;
        let mut tasks = about::of_namespace(&self.0.manager, &namespace).await;
        tasks.retain(|task| filters.matches(&about::Named(task.key())));
        Ok(Response::new(wire::MetricsResponse { metrics: about::metrics(tasks).await }))
    }

    async fn wait(
        &self,
        request: Request<wire::WaitRequest>,
    ) -> Result<Response<wire::WaitResponse>, Status> {
        let wire::WaitRequest { container_id, exec_id } = request.get_ref();
        let (exit_status, exited_at) = self.0.target(&request, container_id, exec_id).await?.wait().await?;
        Ok(Response::new(wire::WaitResponse { exit_status, exited_at }))
    }
}
