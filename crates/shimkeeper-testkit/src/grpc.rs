// SPDX-License-Identifier: Apache-2.0
//! One gRPC connection, served. tonic does the calls, but messages stay bytes and the stream below HTTP/2 is ours,
//! so that an answer may be any nonsense a script asks for.

mod codec;
mod tap;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::KeyAndValueRef;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Request, Response, Status};

use crate::wire::{Answer, Fault, Halt, Handler};
use codec::BytesCodec;
use tap::{Tap, TapControl};

/// More than a tonic client takes by default.
const OVERSIZE: usize = 5 << 20;

/// Serves a connection to its end.
pub(crate) async fn serve<S>(stream: S, handler: Arc<dyn Handler>, tracker: TaskTracker, halt: Halt)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stream, tap) = Tap::new(stream);
    if let Some(greeting) = handler.greeting() {
        // What the fault says of the reply does not matter: nobody has asked yet.
        let _ = fault(&tap, greeting, Bytes::new());
    }
    let service = service_fn(|request: http::Request<Incoming>| {
        let call = Call {
            handler: Arc::clone(&handler),
            tap: tap.clone(),
            path: request.uri().path().to_owned(),
            dead: halt.dead.clone(),
        };
        async move { Ok::<_, Infallible>(Grpc::new(BytesCodec).unary(call, request).await) }
    });
    let served = http2::Builder::new(Spawn(tracker)).serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        biased;
        () = halt.died() => return,
        // How a connection ended is for its peer to notice.
        _ = served.as_mut() => return,
        () = halt.stopping.cancelled() => served.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        () = halt.died() => {}
        _ = served => {}
    }
}

/// A call on its way to the handler.
struct Call {
    handler: Arc<dyn Handler>,
    tap: TapControl,
    path: String,
    dead: CancellationToken,
}

impl UnaryService<Bytes> for Call {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (handler, tap, path) = (Arc::clone(&self.handler), self.tap.clone(), self.path.clone());
        let dead = self.dead.clone();
        Box::pin(async move {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
            let metadata = request.metadata().iter().filter_map(|pair| match pair {
                KeyAndValueRef::Ascii(key, value) => Some((key.to_string(), value.to_str().ok()?.to_owned())),
                KeyAndValueRef::Binary(..) => None,
            });
            let metadata = metadata.collect();
            let answer = tokio::select! {
                biased;
                () = dead.cancelled() => Answer::Never,
                answer = handler.call(service, method, metadata, request.into_inner()) => answer,
            };
            match answer {
                Answer::Reply(reply) => Ok(Response::new(reply)),
                Answer::Refuse(failure) => Err(Status::new(Code::from_i32(failure.code), failure.text)),
                Answer::Never => pending().await,
                Answer::Faulty(what, honest) => match fault(&tap, what, honest) {
                    Some(reply) => Ok(Response::new(reply)),
                    None => pending().await,
                },
            }
        })
    }
}

/// Does to the connection what the fault asks for. Returns the reply, if one is still to be given.
fn fault(tap: &TapControl, fault: Fault, honest: Bytes) -> Option<Bytes> {
    // DATA frames of HTTP/2: length (3 bytes), type 0, flags, stream id.
    const DATA_ON_UNKNOWN_STREAM: &[u8] = b"\0\0\x05\0\0\x3f\xff\xff\xff\0\0\0\0\0";
    match fault {
        Fault::Raw(bytes) => tap.inject(&bytes),
        Fault::Oversize => return Some(vec![0; OVERSIZE].into()),
        Fault::WrongStream => tap.inject(DATA_ON_UNKNOWN_STREAM),
        Fault::Garbage => return Some(Bytes::from_static(&[0xff; 16])),
        // HTTP/2 has no way to answer twice that is not a frame on a closed stream.
        Fault::Twice => {
            tap.inject(DATA_ON_UNKNOWN_STREAM);
            return Some(honest);
        }
        Fault::Close => tap.close(),
        Fault::StopReading => tap.stop_reading(),
    }
    None
}

/// Runs the tasks of a connection where they are waited for.
#[derive(Clone)]
struct Spawn(TaskTracker);

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
