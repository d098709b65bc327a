// SPDX-License-Identifier: Apache-2.0
//! The accept loop: never more connections than the limit, never spinning on an error, never ended by one.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{PeerCred, Server};
use crate::stream::Stream;

/// The first wait after a failed accept; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// The longest wait after a failed accept.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Where connections come from. A trait, so that tests can make accepting fail.
pub(super) trait Listener {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection. Cancel safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<PeerCred>)>> + Send;
}

impl Listener for UnixListener {
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, Option<PeerCred>)> {
        let (stream, _address) = Self::accept(self).await?;
        let peer = PeerCred::of(&stream);
        Ok((Stream::new(stream.into_std()?)?, peer))
    }
}

/// Serves until `stop`, then waits for the connections, each of which drains within its limit.
pub(super) async fn run(server: Server, listener: impl Listener, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(server.shared.limits.connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    'serving: loop {
        // Before accepting: a connection that cannot be served yet costs us no descriptor.
        let mut accepted = pin!(async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the slots are never closed");
            (slot, accept(&listener).await)
        });
        let (slot, (stream, peer)) = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break 'serving,
                // At once, and not before the next one is accepted: until then it takes its memory.
                Some(_ended) = connections.join_next() => {}
                accepted = &mut accepted => break accepted,
            }
        };
        let (server, stop) = (server.clone(), stop.clone());
        connections.spawn(async move {
            let reason = server.serve_stream(stream, peer, stop).await;
            tracing::debug!(%reason, ?peer, "connection ended");
            drop(slot);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Accepts, waiting out whatever is in the way. Out of descriptors or memory, trying again at once is spinning.
async fn accept<L: Listener>(listener: &L) -> (L::Stream, Option<PeerCred>) {
    let mut wait = FIRST_WAIT;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    ?wait,
                    "cannot accept; will try again"
                );
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests;
