// SPDX-License-Identifier: Apache-2.0
//! The server of clients: the socket's connections, each within its limits, each in a task that is owned here.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use shimkeeper_api::{Api, Peer, refusal};
use shimkeeper_ttrpc::Stream;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::Service;

use crate::accept::{self, Gate};
use crate::calls::{Answer, Calls, InFlight, Line};
use crate::error::DaemonError;
use crate::socket::Socket;
use crate::spans::{self, Spans};

/// The largest list of headers of a call, in bytes: what containerd's clients send has less than a hundredth of it.
const HEADERS: u32 = 64 << 10;

/// How many answers may wait to be read, beyond the calls that a connection may have in flight: with so many nothing more is
/// read from it.
const UNREAD: usize = 1024;

/// What is served to everybody.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) api: Api,
    pub(crate) calls: Calls,
    pub(crate) spans: Option<Spans>,
}

/// Whom a connection is served to.
#[derive(Debug)]
struct Client {
    api: Api,
    spans: Option<Spans>,
    peer: Option<Peer>,
    line: Line,
}

/// A call, until it is answered.
struct Answering {
    answer: <Api as Service<Request<Incoming>>>::Future,
    call: Option<InFlight>,
    span: Option<spans::Request>,
}

/// Runs what belongs to a connection as tasks of the server.
#[derive(Clone, Debug)]
struct Owned {
    tasks: TaskTracker,
}

/// Serves until `stop`, then until every connection has ended: told to, each does when its calls are over.
///
/// # Cancel safety
/// Dropping it leaves what is still connected to the runtime.
pub(crate) async fn serve(
    socket: &Socket,
    served: Served,
    gate: Arc<Gate>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::System { verb: "listen", source };
    let listener = UnixListener::from_std(socket.listener()?).map_err(failed)?;
    let tasks = TaskTracker::new();
    let accepting = async {
        loop {
            let (stream, place) = accept::next(&listener, &gate).await;
            let Served { api, calls, spans } = served.clone();
            let client = Client { api, spans, peer: peer(&stream), line: calls.line() };
            let (owned, stop) = (Owned { tasks: tasks.clone() }, stop.clone());
            tasks.spawn(async move {
                connection(stream, client, owned, stop).await;
                drop(place);
            });
        }
    };
    let Some(()) = stop.run_until_cancelled(accepting).await else {
        // New clients are refused from now on.
        drop(listener);
        tasks.close();
        tasks.wait().await;
        return Ok(());
    };
    Ok(())
}

async fn connection(stream: UnixStream, client: Client, owned: Owned, stop: CancellationToken) {
    let peer = client.peer;
    let mut http = http2::Builder::new(owned);
    // Calls are bounded by ourselves: a client that waits for many exits must be told, not left waiting for a stream. But
    // an answer that is not read keeps its stream, and who reads none could have any number of them.
    let streams = client.line.most().saturating_add(UNREAD);
    http.max_concurrent_streams(u32::try_from(streams).unwrap_or(u32::MAX)).max_header_list_size(HEADERS);
    // gRPC has none, and each second's would stay in the connection's table of headers, on a page that little else is on.
    http.auto_date_header(false);
    let stream = match stream.into_std().and_then(Stream::new) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(?peer, %error, "a connection cannot be served"),
    };
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), client));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(?peer, error, "a connection broke");
    }
}

fn peer(stream: &UnixStream) -> Option<Peer> {
    let cred = stream.peer_cred().ok()?;
    Some(Peer { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() })
}

impl hyper::service::Service<Request<Incoming>> for Client {
    type Response = Response<Answer<shimkeeper_api::Answer>>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        let call = match self.line.begin(request.uri().path()) {
            Ok(call) => call,
            Err(full) => {
                let text = format!("this connection has {} calls in flight, and may have no more", full.most);
                let refused = refusal(tonic::Status::resource_exhausted(text));
                return Answering {
                    answer: Box::pin(std::future::ready(Ok(refused))),
                    call: None,
                    span: None,
                };
            }
        };
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let span = self.spans.as_ref().map(|spans| spans.request(&mut request));
        Answering { answer: Service::call(&mut self.api.clone(), request), call: Some(call), span }
    }
}

impl Future for Answering {
    type Output = Result<Response<Answer<shimkeeper_api::Answer>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answer.as_mut().poll(cx))?;
        let (call, mut span) = (self.call.take(), self.span.take());
        if let Some(span) = &mut span {
            span.told(answer.headers());
        }
        Poll::Ready(Ok(answer.map(|body| Answer::new(body, call, span))))
    }
}

impl<F> Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.tasks.spawn(task);
    }
}
