// SPDX-License-Identifier: Apache-2.0
//! The connection to one shim: dialled once, cloned freely, used by every caller at the same time.
//!
//! There is no mailbox and no lock between a caller and the wire. A connection has one end, which every clone sees
//! ([`Connection::closed`]); it is never made again behind the caller's back. What its end means for the shim is
//! decided elsewhere: a closed connection is a fact about a socket.

mod close;
mod grpc;
mod ttrpc;

use std::sync::Arc;
use std::time::Duration;

use shimkeeper_core::Namespace;
use shimkeeper_ttrpc::PeerCred;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

pub use self::close::CloseReason;
use self::grpc::GrpcClient;
use self::ttrpc::TtrpcClient;
use crate::call::{Call, CallError, Cause};
use crate::dial::{self, Deadline, DialError, DialMode};
use crate::task_api::TaskMethod;
use crate::{Address, BootstrapParams, TaskApi};

/// A connection to a shim, with one method per call of its Task API.
///
/// A clone is the same connection. It closes when the last clone is dropped.
///
/// # Cancel safety
/// Every call may be dropped at any point: the others and the connection do not notice. Whether the shim has acted
/// on a dropped call is not known, as after a deadline.
#[derive(Clone, Debug)]
pub struct Connection {
    client: TaskClient,
    about: Arc<About>,
}

/// The wire and the service spoken on it; what does not exist cannot be built.
#[derive(Clone, Debug)]
enum TaskClient {
    TtrpcV2(TtrpcClient),
    TtrpcV3(TtrpcClient),
    GrpcV3(GrpcClient),
}

#[derive(Debug)]
struct About {
    namespace: Namespace,
    address: Address,
    peer: Option<PeerCred>,
}

impl Connection {
    /// Dials the shim; the deadline covers everything until the connection can be used.
    ///
    /// The connection's driver is spawned on `tasks` and ends with the connection. Every call is made in
    /// `namespace`. That a shim can be dialled does not mean that it answers: the kernel accepts for it.
    ///
    /// # Errors
    /// [`DialError`]: at once if there is no such socket or nobody listens on it, else at the deadline at the latest.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn dial(
        params: &BootstrapParams,
        namespace: &Namespace,
        mode: DialMode,
        tasks: &TaskTracker,
        deadline: Duration,
    ) -> Result<Self, DialError> {
        let deadline = Deadline::after(deadline);
        let address = params.address.clone();
        let (stream, peer) = dial::open(&address, mode, deadline).await?;
        let client = match params.api {
            TaskApi::TtrpcV2 => TaskClient::TtrpcV2(TtrpcClient::open(stream, tasks)),
            TaskApi::TtrpcV3 => TaskClient::TtrpcV3(TtrpcClient::open(stream, tasks)),
            TaskApi::GrpcV3 => match timeout_at(deadline.at, GrpcClient::open(stream, tasks)).await {
                Ok(Ok(client)) => TaskClient::GrpcV3(client),
                Ok(Err(source)) => {
                    return Err(DialError::Session { address: address.to_string(), source: source.into() });
                }
                Err(_elapsed) => return Err(deadline.passed(&address, None)),
            },
        };
        let about = About { namespace: namespace.clone(), address, peer };
        Ok(Self { client, about: Arc::new(about) })
    }

    /// The Task API spoken on this connection.
    pub fn api(&self) -> TaskApi {
        match &self.client {
            TaskClient::TtrpcV2(_) => TaskApi::TtrpcV2,
            TaskClient::TtrpcV3(_) => TaskApi::TtrpcV3,
            TaskClient::GrpcV3(_) => TaskApi::GrpcV3,
        }
    }

    /// The same connection speaking the next older service; `None` if there is none on this transport.
    ///
    /// For a shim that answers "not implemented" to the service its binary announced: an older one still runs.
    pub fn downgraded(&self) -> Option<Self> {
        match &self.client {
            TaskClient::TtrpcV3(client) => {
                Some(Self { client: TaskClient::TtrpcV2(client.clone()), about: self.about.clone() })
            }
            TaskClient::TtrpcV2(_) | TaskClient::GrpcV3(_) => None,
        }
    }

    /// The address that was dialled.
    pub fn address(&self) -> &Address {
        &self.about.address
    }

    /// Who made the socket at the other end, if it has an owner the kernel knows (virtual machines do not).
    ///
    /// The kernel notes the process that called `listen`. A shim's socket is commonly made by its `start` helper
    /// and inherited by the server, so the pid names a process that is usually gone, and never proves that the
    /// server lives or which one it is. User and group are reliable.
    pub fn peer_cred(&self) -> Option<PeerCred> {
        self.about.peer
    }

    /// Waits for the connection's end and says why it came. At once if it has come; the same for every waiter.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn closed(&self) -> CloseReason {
        match &self.client {
            TaskClient::TtrpcV2(client) | TaskClient::TtrpcV3(client) => client.closed().await,
            TaskClient::GrpcV3(client) => client.closed().await,
        }
    }

    /// Why the connection ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &self.client {
            TaskClient::TtrpcV2(client) | TaskClient::TtrpcV3(client) => client.close_reason(),
            TaskClient::GrpcV3(client) => client.close_reason(),
        }
    }

    /// Closes the connection for every clone; calls under way fail. May be repeated.
    pub fn close(&self) {
        match &self.client {
            TaskClient::TtrpcV2(client) | TaskClient::TtrpcV3(client) => client.close(),
            TaskClient::GrpcV3(client) => client.close(),
        }
    }

    /// One call of the Task API, whichever it is and whatever it travels by.
    pub(crate) async fn call<M: TaskMethod>(
        &self,
        call: &Call,
        request: &M::Request,
    ) -> Result<M::Response, CallError> {
        let started = tracing::enabled!(tracing::Level::DEBUG).then(std::time::Instant::now);
        let outcome = self.send::<M>(call, request).await.map_err(|cause| CallError::new(M::NAME, cause));
        if let Some(started) = started {
            self.record(M::NAME, started.elapsed(), outcome.as_ref().err());
        }
        outcome
    }

    async fn send<M: TaskMethod>(&self, call: &Call, request: &M::Request) -> Result<M::Response, Cause> {
        let namespace = &self.about.namespace;
        let service = self.api().service();
        match &self.client {
            TaskClient::TtrpcV2(client) | TaskClient::TtrpcV3(client) => {
                client.unary(service, M::NAME, namespace, call, request).await
            }
            TaskClient::GrpcV3(client) => {
                Box::pin(client.unary(M::GRPC_PATH, namespace, call, request)).await
            }
        }
    }

    fn record(&self, method: &'static str, elapsed: Duration, failure: Option<&CallError>) {
        use shimkeeper_core::HasKind;
        let shim = &self.about.address;
        match failure {
            None => tracing::debug!(%shim, method, outcome = "ok", ?elapsed, "call"),
            Some(error) => {
                tracing::debug!(%shim, method, outcome = error.kind().as_str(), ?elapsed, %error, "call");
            }
        }
    }
}
