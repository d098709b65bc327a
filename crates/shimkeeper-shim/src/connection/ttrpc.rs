// SPDX-License-Identifier: Apache-2.0
//! The ttrpc transport: our ttrpc client, with its errors in the words of this crate.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use shimkeeper_core::{Namespace, chain};
use shimkeeper_ttrpc::{Begun, CallOptions, Client, ClientLimits, Metadata, NAMESPACE_KEY};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::close::CloseReason;
use crate::call::{Call, Cause};
use crate::method::MethodName;

/// One connection; clones share it.
#[derive(Clone, Debug)]
pub(super) struct TtrpcClient(Client);

impl TtrpcClient {
    /// Speaks ttrpc over the stream; the driver runs on `tasks` until the connection ends.
    pub(super) fn open<S>(stream: S, tasks: &TaskTracker) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // The same for all, and there once.
        static LIMITS: LazyLock<Arc<ClientLimits>> = LazyLock::new(Arc::default);
        let (client, driver) = Client::new(stream, LIMITS.clone());
        tasks.spawn(driver.run());
        Self(client)
    }

    /// One call; the deadline is kept by the client and told to the shim.
    pub(super) async fn unary(
        &self,
        method: &MethodName,
        namespace: &Namespace,
        call: &Call,
        request: &[u8],
    ) -> Result<Bytes, Cause> {
        let options = options(namespace, call);
        self.0.unary_bytes(method.service, method.name, request, &options).await.map_err(Cause::from)
    }

    /// The same, ready when it is sent: the answer may be long in coming.
    pub(super) async fn begin(
        &self,
        method: &MethodName,
        namespace: &Namespace,
        call: &Call,
        request: &[u8],
    ) -> Result<Begun, Cause> {
        let options = options(namespace, call);
        self.0.begin(method.service, method.name, request, &options).await.map_err(Cause::from)
    }

    pub(super) async fn closed(&self) -> CloseReason {
        self.0.closed().await.into()
    }

    pub(super) fn tell_end(&self, listener: Arc<Notify>) {
        self.0.tell_end(listener);
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.0.close_reason().map(CloseReason::from)
    }

    pub(super) fn close(&self) {
        self.0.close();
    }
}

fn options(namespace: &Namespace, call: &Call) -> CallOptions {
    let mut metadata = Metadata::new().with(NAMESPACE_KEY, namespace.as_str());
    for (key, value) in call.trace.pairs() {
        metadata = metadata.with(key, value);
    }
    CallOptions { timeout: call.timeout, metadata, more_follow: call.more_follow }
}

impl From<shimkeeper_ttrpc::CloseReason> for CloseReason {
    fn from(reason: shimkeeper_ttrpc::CloseReason) -> Self {
        use shimkeeper_ttrpc::CloseReason as R;
        match reason {
            R::PeerClosed => Self::PeerClosed,
            R::Reset => Self::Reset,
            R::Local => Self::Local,
            R::Protocol(violation) => Self::Protocol { detail: violation.to_string().into() },
            R::Io { verb, source } => {
                Self::Io { kind: source.kind(), detail: format!("{verb}: {source}").into() }
            }
            other => Self::Protocol { detail: chain(&other).into() },
        }
    }
}

impl From<shimkeeper_ttrpc::CallError> for Cause {
    fn from(error: shimkeeper_ttrpc::CallError) -> Self {
        use shimkeeper_ttrpc::CallError as E;
        match error {
            E::Closed(reason) => Self::Closed(reason.into()),
            E::Deadline { timeout } => Self::Deadline(timeout),
            E::Status(status) => Self::Shim { code: status.code, message: status.message },
            E::Busy { limit } => Self::Busy { limit },
            error @ E::TooLarge { .. } => Self::TooLarge { detail: error.to_string() },
            error @ E::Decode { .. } => Self::Decode { detail: chain(&error) },
            error => Self::Transport { detail: chain(&error) },
        }
    }
}
