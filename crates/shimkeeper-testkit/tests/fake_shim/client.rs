// SPDX-License-Identifier: Apache-2.0
//! A client of the task service over all three protocols, by method name.

use std::path::Path;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use shimkeeper_proto::containerd::task::v3 as api;
use shimkeeper_testkit::Method;
use shimkeeper_ttrpc::{CallError, CallOptions, ClientLimits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic_prost::ProstCodec;

/// Longer than any call that is answered takes, and the most a test waits for one that is not.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The shim said no.
    Status(i32, String),
    /// Anything else: the connection, the time, the encoding.
    Wire(String),
}

/// A connection.
pub(crate) struct Client {
    kind: Kind,
    _tasks: JoinSet<()>,
}

enum Kind {
    Ttrpc(shimkeeper_ttrpc::Client, String),
    Grpc(hyper::client::conn::http2::SendRequest<Body>),
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    TtrpcV2,
    TtrpcV3,
    GrpcV3,
}

impl Client {
    pub(crate) async fn dial(socket: &Path, protocol: Protocol) -> Self {
        Self::over(UnixStream::connect(socket).await.unwrap(), protocol).await
    }

    pub(crate) async fn over<S>(stream: S, protocol: Protocol) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut tasks = JoinSet::new();
        let version = if protocol == Protocol::TtrpcV2 { 2 } else { 3 };
        let kind = if protocol == Protocol::GrpcV3 {
            let io = TokioIo::new(stream);
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tasks.spawn(async { drop(connection.await) });
            Kind::Grpc(sender)
        } else {
            let (client, driver) = shimkeeper_ttrpc::Client::new(stream, ClientLimits::default());
            tasks.spawn(driver.run());
            Kind::Ttrpc(client, format!("containerd.task.v{version}.Task"))
        };
        Self { kind, _tasks: tasks }
    }

    /// Calls with the time a test has.
    pub(crate) async fn call<Q, R>(&self, method: Method, request: Q) -> Result<R, Failed>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        self.call_within(DEADLINE, method, request).await
    }

    /// Calls; after `limit` the answer is that there was none.
    pub(crate) async fn call_within<Q, R>(
        &self,
        limit: Duration,
        method: Method,
        request: Q,
    ) -> Result<R, Failed>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let call = Box::pin(async {
            match &self.kind {
                Kind::Ttrpc(client, service) => {
                    let options = CallOptions::default();
                    client.unary(service, method.name(), &request, &options).await.map_err(|e| match e {
                        CallError::Status(status) => Failed::Status(status.code, status.message),
                        other => Failed::Wire(other.to_string()),
                    })
                }
                Kind::Grpc(sender) => grpc(sender.clone(), method, request).await,
            }
        });
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(Failed::Wire("no answer".into())))
    }

    pub(crate) async fn state(&self, id: &str, exec_id: &str) -> Result<api::StateResponse, Failed> {
        self.call(Method::State, api::StateRequest { id: id.into(), exec_id: exec_id.into() }).await
    }

    pub(crate) async fn create(&self, id: &str, bundle: &Path) -> Result<api::CreateTaskResponse, Failed> {
        let bundle = bundle.to_str().unwrap().to_owned();
        self.call(Method::Create, api::CreateTaskRequest { id: id.into(), bundle, ..Default::default() })
            .await
    }

    pub(crate) async fn start(&self, id: &str, exec_id: &str) -> Result<api::StartResponse, Failed> {
        self.call(Method::Start, api::StartRequest { id: id.into(), exec_id: exec_id.into() }).await
    }

    pub(crate) async fn kill(&self, id: &str, exec_id: &str, signal: u32) -> Result<(), Failed> {
        let request = api::KillRequest { id: id.into(), exec_id: exec_id.into(), signal, all: false };
        self.call(Method::Kill, request).await
    }

    pub(crate) async fn wait(&self, id: &str, exec_id: &str) -> Result<u32, Failed> {
        let request = api::WaitRequest { id: id.into(), exec_id: exec_id.into() };
        self.call(Method::Wait, request).await.map(|answer: api::WaitResponse| answer.exit_status)
    }

    pub(crate) async fn delete(&self, id: &str, exec_id: &str) -> Result<api::DeleteResponse, Failed> {
        self.call(Method::Delete, api::DeleteRequest { id: id.into(), exec_id: exec_id.into() }).await
    }

    pub(crate) async fn connect(&self, id: &str) -> Result<api::ConnectResponse, Failed> {
        self.call(Method::Connect, api::ConnectRequest { id: id.into() }).await
    }

    /// Shuts down. The answer may lose the race against the end of the shim.
    pub(crate) async fn shutdown(&self, id: &str) {
        let request = api::ShutdownRequest { id: id.into(), now: false };
        match self.call::<_, ()>(Method::Shutdown, request).await {
            Ok(()) | Err(Failed::Wire(_)) => {}
            Err(refused) => panic!("{refused:?}"),
        }
    }
}

async fn grpc<Q, R>(
    sender: hyper::client::conn::http2::SendRequest<Body>,
    method: Method,
    request: Q,
) -> Result<R, Failed>
where
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    let service = tower::service_fn(move |mut request: http::Request<Body>| {
        let mut sender = sender.clone();
        *request.uri_mut() = format!("http://shim{}", request.uri().path()).parse().unwrap();
        async move { sender.send_request(request).await }
    });
    let mut client = tonic::client::Grpc::new(service);
    client.ready().await.map_err(|e| Failed::Wire(e.to_string()))?;
    let path = format!("/containerd.task.v3.Task/{method}").parse().unwrap();
    let answered = client.unary(tonic::Request::new(request), path, ProstCodec::default()).await;
    answered.map(tonic::Response::into_inner).map_err(|status| {
        // What tonic makes up itself has a cause, or speaks of the protocol.
        let own = std::error::Error::source(&status).is_some()
            || status.message().contains("protocol error")
            || status.message().contains("decode")
            || status.message().contains("decoded message length too large");
        if own {
            Failed::Wire(status.to_string())
        } else {
            Failed::Status(status.code().into(), status.message().to_owned())
        }
    })
}
