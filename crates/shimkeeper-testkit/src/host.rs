// SPDX-License-Identifier: Apache-2.0
//! Gives a fake shim its connections, one way for the in-process twin and the binary.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio_util::task::TaskTracker;

use crate::shim::Shim;
use crate::{grpc, wire};

/// Serves one connection in the protocol the script promises.
pub(crate) async fn serve<S>(stream: S, shim: Arc<Shim>, connections: TaskTracker)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let halt = shim.halt.clone();
    if shim.script.promised().is_grpc() {
        grpc::serve(stream, shim, connections, halt).await;
    } else {
        wire::serve(stream, shim, connections, halt).await;
    }
}

/// Accepts connections until the shim is deaf, stops or dies.
pub(crate) async fn accept(listener: UnixListener, shim: Arc<Shim>, connections: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shim.halt.dead.cancelled() => return,
            () = shim.deaf.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, _)) = accepted {
            connections.spawn(serve(stream, Arc::clone(&shim), connections.clone()));
        }
    }
}
