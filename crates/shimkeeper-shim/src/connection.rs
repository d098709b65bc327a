// SPDX-License-Identifier: Apache-2.0
//! The connection to one shim: dialled once, cloned freely, used by every caller at the same time.
//!
//! There is no mailbox and no lock between a caller and the wire. A connection has one end, which every clone sees
//! ([`Connection::closed`]); it is never made again behind the caller's back. What its end means for the shim is
//! decided elsewhere: a closed connection is a fact about a socket.

mod close;
mod grpc;
mod long;
mod share;
mod ttrpc;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use shimkeeper_core::{HasKind as _, Namespace};
use tokio::sync::Notify;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use self::close::CloseReason;
use self::grpc::GrpcClient;
use self::long::Form;
pub use self::long::LongAnswer;
use self::share::Share;
use self::ttrpc::TtrpcClient;
use crate::call::{Call, CallError, Cause};
use crate::dial::{self, Deadline, DialError, DialMode};
use crate::method::{Method, MethodName};
use crate::{Address, BootstrapParams, TaskApi};

/// A connection to a shim, with one method per call of its Task API.
///
/// A clone is the same connection. It closes when the last clone is dropped. Several tasks of one shim each have a
/// [share](Connection::share) of it, and the wire closes when the last share does.
///
/// # Cancel safety
/// Every call may be dropped at any point: the others and the connection do not notice. Whether the shim has acted
/// on a dropped call is not known, as after a deadline.
#[derive(Clone, Debug)]
pub struct Connection {
    client: TaskClient,
    share: Arc<Share>,
}

/// The wire and the service spoken on it; what does not exist cannot be built.
#[derive(Clone, Debug)]
enum TaskClient {
    TtrpcV2(TtrpcClient),
    TtrpcV3(TtrpcClient),
    GrpcV3(GrpcClient),
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
        let stream = dial::open(&address, mode, deadline).await?;
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
        let share = Arc::new(Share::first(client.clone(), namespace.clone(), address));
        Ok(Self { client, share })
    }

    /// Another share of the same wire, for another task of the same shim: it is closed by itself, and ends with the
    /// wire. `None` once the wire is closed on our side.
    pub fn share(&self) -> Option<Self> {
        let share = Arc::new(self.share.another()?);
        Some(Self { client: self.client.clone(), share })
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
                let client = TaskClient::TtrpcV2(client.clone());
                Some(Self { client, share: self.share.clone() })
            }
            TaskClient::TtrpcV2(_) | TaskClient::GrpcV3(_) => None,
        }
    }

    /// The address that was dialled.
    pub fn address(&self) -> &Address {
        self.share.address()
    }

    /// Waits for the connection's end and says why it came. At once if it has come; the same for every waiter.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn closed(&self) -> CloseReason {
        tokio::select! {
            biased;
            reason = self.client.closed() => reason,
            () = self.share.hung_up() => CloseReason::Local,
        }
    }

    /// Notifies all who wait for `listener` when the connection ends, or this share of it is closed; at once if that has
    /// happened. One listener, the first, for all clones. It takes less memory than to wait for [`Connection::closed`].
    pub fn tell_end(&self, listener: &Arc<Notify>) {
        self.share.tell_end(listener);
    }

    /// Why the connection ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.client.close_reason().or_else(|| self.share.has_hung_up().then_some(CloseReason::Local))
    }

    /// Closes this share of the connection for every clone of it; its calls under way fail. May be repeated.
    pub fn close(&self) {
        self.share.hang_up();
    }

    /// One call, whichever it is and whatever it travels by.
    ///
    /// Only what differs from method to method is made once for each; the way of a call is the same for all.
    pub(crate) async fn call<M: Method>(
        &self,
        call: &Call,
        request: &M::Request,
    ) -> Result<M::Response, CallError> {
        let method = self.name::<M>();
        let mut response = M::Response::default();
        let mut read = |answer: Bytes| response.merge(answer);
        // On the heap, or whoever makes several calls in turn would always have the room of one.
        Box::pin(self.traced(&method, call, &request.encode_to_vec(), &mut read)).await?;
        Ok(response)
    }

    /// One call without a deadline whose answer is long in coming; ready when it is sent.
    pub(crate) async fn begin<M: Method>(
        &self,
        request: M::Request,
    ) -> Result<LongAnswer<M::Response>, CallError>
    where
        M::Request: 'static,
        M::Response: 'static,
    {
        let form = match &self.client {
            TaskClient::TtrpcV2(client) | TaskClient::TtrpcV3(client)
                if !tracing::enabled!(tracing::Level::DEBUG) =>
            {
                let method = self.name::<M>();
                let (call, request) = (Call::unbounded(), request.encode_to_vec());
                let sending = pin!(client.begin(&method, self.share.namespace(), &call, &request));
                Form::Ttrpc(
                    self.unless_hung_up(sending).await.map_err(|cause| CallError::new(M::NAME, cause))?,
                )
            }
            _ => {
                let this = self.clone();
                Form::Any(Box::pin(async move { this.call::<M>(&Call::unbounded(), &request).await }))
            }
        };
        Ok(LongAnswer::new(M::NAME, form))
    }

    fn name<M: Method>(&self) -> MethodName {
        MethodName { service: M::service(self.api()), name: M::NAME, path: M::GRPC_PATH }
    }

    /// What comes of it, unless this share is hung up first.
    async fn unless_hung_up<T>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, Cause>>>,
    ) -> Result<T, Cause> {
        tokio::select! {
            biased;
            () = self.share.hung_up() => Err(Cause::Closed(self.close_reason().unwrap_or(CloseReason::Local))),
            done = work => done,
        }
    }

    async fn traced(
        &self,
        method: &MethodName,
        call: &Call,
        request: &[u8],
        read: Reader<'_>,
    ) -> Result<(), CallError> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return self.attempt(method, call, request, read).await;
        }
        let (shim, trace) = (self.address(), call.trace.traceparent());
        let span =
            tracing::debug_span!("call", %shim, method = method.name, trace, outcome = tracing::field::Empty);
        let started = std::time::Instant::now();
        let outcome = self.attempt(method, call, request, read).instrument(span.clone()).await;
        record(&span, started.elapsed(), outcome.as_ref().err());
        outcome
    }

    async fn attempt(
        &self,
        method: &MethodName,
        call: &Call,
        request: &[u8],
        read: Reader<'_>,
    ) -> Result<(), CallError> {
        let answer = self.unless_hung_up(pin!(self.send(method, call, request))).await;
        let answer = answer.map_err(|cause| CallError::new(method.name, cause))?;
        read(answer).map_err(|error| CallError::new(method.name, Cause::unreadable(&error)))
    }

    async fn send(&self, method: &MethodName, call: &Call, request: &[u8]) -> Result<Bytes, Cause> {
        let namespace = self.share.namespace();
        match &self.client {
            TaskClient::TtrpcV2(client) | TaskClient::TtrpcV3(client) => {
                client.unary(method, namespace, call, request).await
            }
            TaskClient::GrpcV3(client) => Box::pin(client.unary(method.path, namespace, call, request)).await,
        }
    }
}

/// Takes an answer apart.
type Reader<'a> = &'a mut (dyn FnMut(Bytes) -> Result<(), prost::DecodeError> + Send);

/// How a call ended, in its span and as an event in it.
fn record(span: &tracing::Span, elapsed: Duration, failure: Option<&CallError>) {
    let outcome = failure.map_or("ok", |error| error.kind().as_str());
    span.record("outcome", outcome);
    span.in_scope(|| match failure {
        None => tracing::debug!(outcome, ?elapsed, "call"),
        Some(error) => tracing::debug!(outcome, ?elapsed, %error, "call"),
    });
}

impl TaskClient {
    async fn closed(&self) -> CloseReason {
        match self {
            Self::TtrpcV2(client) | Self::TtrpcV3(client) => client.closed().await,
            // In a box, because few shims speak it, and each is watched.
            Self::GrpcV3(client) => Box::pin(client.closed()).await,
        }
    }

    fn tell_end(&self, listener: Arc<Notify>) {
        match self {
            Self::TtrpcV2(client) | Self::TtrpcV3(client) => client.tell_end(listener),
            Self::GrpcV3(client) => client.tell_end(listener),
        }
    }

    fn close_reason(&self) -> Option<CloseReason> {
        match self {
            Self::TtrpcV2(client) | Self::TtrpcV3(client) => client.close_reason(),
            Self::GrpcV3(client) => client.close_reason(),
        }
    }

    fn close(&self) {
        match self {
            Self::TtrpcV2(client) | Self::TtrpcV3(client) => client.close(),
            Self::GrpcV3(client) => client.close(),
        }
    }
}
