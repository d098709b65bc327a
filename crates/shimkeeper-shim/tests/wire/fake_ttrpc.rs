// SPDX-License-Identifier: Apache-2.0
//! The scripted shim over ttrpc.

use std::sync::Arc;

use bytes::Bytes;
use shimkeeper_shim::TaskApi;
use shimkeeper_ttrpc::{
    Answer, Context, NAMESPACE_KEY, Server, ServerLimits, Service, Status, TRACEPARENT_KEY,
};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::fake::{Reply, Script, Seen};

struct TaskService {
    name: &'static str,
    script: Arc<Script>,
}

impl Service for TaskService {
    fn call<'a>(&'a self, method: &'a str, _payload: Bytes, cx: &'a Context) -> Answer<'a> {
        let text = |key| cx.metadata.get(key).map(str::to_owned);
        let seen = Seen {
            service: self.name,
            method: method.to_owned(),
            namespace: text(NAMESPACE_KEY),
            traceparent: text(TRACEPARENT_KEY),
            has_deadline: cx.deadline.is_some(),
        };
        Box::pin(async move {
            match self.script.reply(seen).await {
                Reply::Message(bytes) => Ok(bytes.into()),
                Reply::Status { code, message } => Err(Status { code, message, details: Vec::new() }),
            }
        })
    }
}

pub(crate) async fn serve(listener: UnixListener, api: TaskApi, script: Arc<Script>) {
    let name = api.service();
    Server::new(ServerLimits::default())
        .service(name, Arc::new(TaskService { name, script }))
        .serve(listener, CancellationToken::new())
        .await;
}
