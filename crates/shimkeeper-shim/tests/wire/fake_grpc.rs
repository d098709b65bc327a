// SPDX-License-Identifier: Apache-2.0
//! The scripted shim over gRPC, on the server stub generated from the service's definition.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message;
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_proto::containerd::task::v3::task_server::{SERVICE_NAME, Task, TaskServer};
use shimkeeper_proto::google::protobuf::Empty;
use tokio::net::{UnixListener, UnixStream};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use crate::fake::{Reply, Script, Seen};

struct TaskService(Arc<Script>);

impl TaskService {
    async fn answer<Q, R: Message + Default>(
        &self,
        method: &str,
        request: Request<Q>,
    ) -> Result<Response<R>, Status> {
        let text = |key| Some(request.metadata().get(key)?.to_str().ok()?.to_owned());
        let seen = Seen {
            service: SERVICE_NAME,
            method: method.to_owned(),
            namespace: text("containerd-namespace"),
            traceparent: text("traceparent"),
            has_deadline: request.metadata().contains_key("grpc-timeout"),
        };
        match self.0.reply(seen).await {
            Reply::Message(bytes) => Ok(Response::new(R::decode(bytes.as_slice()).unwrap())),
            Reply::Status { code, message } => Err(Status::new(Code::from(code), message)),
        }
    }
}

macro_rules! task_service {
    ($($function:ident $name:literal $request:ty => $response:ty,)*) => {
        #[tonic::async_trait]
        impl Task for TaskService {
            $(async fn $function(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                self.answer($name, request).await
            })*
        }
    };
}

task_service! {
    state "State" task::StateRequest => task::StateResponse,
    create "Create" task::CreateTaskRequest => task::CreateTaskResponse,
    start "Start" task::StartRequest => task::StartResponse,
    delete "Delete" task::DeleteRequest => task::DeleteResponse,
    pids "Pids" task::PidsRequest => task::PidsResponse,
    pause "Pause" task::PauseRequest => Empty,
    resume "Resume" task::ResumeRequest => Empty,
    checkpoint "Checkpoint" task::CheckpointTaskRequest => Empty,
    kill "Kill" task::KillRequest => Empty,
    exec "Exec" task::ExecProcessRequest => Empty,
    resize_pty "ResizePty" task::ResizePtyRequest => Empty,
    close_io "CloseIO" task::CloseIoRequest => Empty,
    update "Update" task::UpdateTaskRequest => Empty,
    wait "Wait" task::WaitRequest => task::WaitResponse,
    stats "Stats" task::StatsRequest => task::StatsResponse,
    connect "Connect" task::ConnectRequest => task::ConnectResponse,
    shutdown "Shutdown" task::ShutdownRequest => Empty,
}

/// The connections a listener accepts.
struct Incoming(UnixListener);

impl Stream for Incoming {
    type Item = io::Result<UnixStream>;
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(cx).map(|accepted| Some(accepted.map(|(stream, _address)| stream)))
    }
}

pub(crate) async fn serve(listener: UnixListener, script: Arc<Script>) {
    let service = TaskServer::new(TaskService(script));
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(Incoming(listener))
        .await
        .expect("the fake shim serves until it is killed");
}
