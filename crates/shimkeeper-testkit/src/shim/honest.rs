// SPDX-License-Identifier: Apache-2.0
//! What an honest shim does with a call: decode, do, encode.

use bytes::Bytes;
use prost::Message;
use shimkeeper_proto::containerd::task::v3 as api;
use shimkeeper_proto::google::protobuf::Empty;

use super::Shim;
use crate::model::Failure;
use crate::script::Method;

impl Shim {
    /// The honest reply. Two requests kill the shim, as they kill the runc shim, which does not look before it
    /// uses what is not there: Exec without a spec, Update without resources.
    pub(super) async fn honestly(&self, method: Method, payload: Bytes) -> Result<Bytes, Failure> {
        let model = &self.model;
        match method {
            Method::State => reply(&model.state(&decode(payload)?)?),
            Method::Create => reply(&model.create(&decode(payload)?)?),
            Method::Start => reply(&model.start(&decode(payload)?)?),
            Method::Delete => reply(&model.delete(&decode(payload)?).await?),
            Method::Pids => reply(&model.pids(&decode::<api::PidsRequest>(payload)?.id)?),
            Method::Pause => empty(model.pause(&decode::<api::PauseRequest>(payload)?.id)),
            Method::Resume => empty(model.resume(&decode::<api::ResumeRequest>(payload)?.id)),
            Method::Checkpoint => empty(model.checkpoint(&decode(payload)?)),
            Method::Kill => empty(model.kill(&decode(payload)?)),
            Method::Exec => {
                let request: api::ExecProcessRequest = decode(payload)?;
                match &request.spec {
                    Some(spec) => empty(model.exec(&request, &spec.value)),
                    None => self.panic().await,
                }
            }
            Method::ResizePty => empty(model.resize(&decode(payload)?)),
            Method::CloseIo => empty(model.close_io(&decode(payload)?)),
            Method::Update => {
                let request: api::UpdateTaskRequest = decode(payload)?;
                match &request.resources {
                    Some(_) => empty(model.update(&request)),
                    None => self.panic().await,
                }
            }
            Method::Wait => reply(&model.wait(&decode(payload)?).await?),
            Method::Stats => reply(&model.stats(&decode::<api::StatsRequest>(payload)?.id)?),
            Method::Connect => reply(&model.connect(&decode::<api::ConnectRequest>(payload)?.id, self.pid)),
            Method::Shutdown => {
                let _: api::ShutdownRequest = decode(payload)?;
                if model.is_empty() {
                    self.stop_listening().await;
                    self.halt.stopping.cancel();
                }
                empty(Ok(()))
            }
            Method::CreateSandbox
            | Method::StartSandbox
            | Method::Platform
            | Method::StopSandbox
            | Method::WaitSandbox
            | Method::SandboxStatus
            | Method::PingSandbox
            | Method::ShutdownSandbox
            | Method::SandboxMetrics => self.sandbox(method, payload).await,
            Method::Any => Err(Failure::unimplemented("method *")),
        }
    }

    async fn panic(&self) -> Result<Bytes, Failure> {
        self.die();
        std::future::pending().await
    }
}

/// The task and the exec a request names. They are fields 1 and 2 of nearly every request.
pub(super) fn names(method: Method, payload: Bytes) -> (String, String) {
    #[derive(Clone, PartialEq, Message)]
    struct Task {
        #[prost(string, tag = "1")]
        id: String,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Process {
        #[prost(string, tag = "1")]
        id: String,
        #[prost(string, tag = "2")]
        exec_id: String,
    }
    match method {
        Method::State
        | Method::Start
        | Method::Delete
        | Method::Kill
        | Method::Exec
        | Method::ResizePty
        | Method::CloseIo
        | Method::Wait => Process::decode(payload).map(|p| (p.id, p.exec_id)).unwrap_or_default(),
        _ => (Task::decode(payload).unwrap_or_default().id, String::new()),
    }
}

pub(super) fn decode<M: Message + Default>(payload: Bytes) -> Result<M, Failure> {
    M::decode(payload).map_err(|e| Failure::invalid(format!("unmarshalling the request failed: {e}")))
}

// Returns a Result because every caller does.
#[expect(clippy::unnecessary_wraps, reason = "the value of a match whose other arms can fail")]
pub(super) fn reply<M: Message>(message: &M) -> Result<Bytes, Failure> {
    Ok(message.encode_to_vec().into())
}

fn empty(done: Result<(), Failure>) -> Result<Bytes, Failure> {
    done.and_then(|()| reply(&Empty::default()))
}
