// SPDX-License-Identifier: Apache-2.0
//! One ttrpc connection, served: calls run concurrently, answers are written by one task, and an answer may be any
//! nonsense a script asks for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Frame, MAX_PAYLOAD, REQUEST, RESPONSE, Request};
use crate::model::Failure;

/// What answers calls.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The answer to a call.
    fn call<'a>(
        &'a self,
        service: &'a str,
        method: &'a str,
        metadata: Metadata,
        payload: Bytes,
    ) -> Answering<'a>;

    /// What happens to a connection instead of serving it.
    fn greeting(&self) -> Option<Fault> {
        None
    }
}

/// What comes with a call besides its message: keys and values.
pub(crate) type Metadata = Vec<(String, String)>;

pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// What comes back for a call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Reply(Bytes),
    Refuse(Failure),
    /// The honest reply, and what becomes of it.
    Faulty(Fault, Bytes),
    Never,
}

/// What can go wrong on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Raw(Bytes),
    Oversize,
    WrongStream,
    Garbage,
    Twice,
    Close,
    StopReading,
}

/// The two ways in which serving ends. In both, nobody accepts any more before the first connection is closed: who
/// sees one close and dials again is refused, every time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Halt {
    /// Finish what is being written.
    pub(crate) stopping: CancellationToken,
    /// Drop everything.
    pub(crate) dead: CancellationToken,
    /// Whoever accepts.
    pub(crate) listeners: TaskTracker,
}

impl Halt {
    /// Resolves when all is to be dropped and nobody accepts any more.
    pub(crate) async fn died(&self) {
        self.dead.cancelled().await;
        self.listeners.wait().await;
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<S>(stream: S, handler: Arc<dyn Handler>, tracker: TaskTracker, halt: Halt)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut from, to) = split(stream);
    let (out, queued) = mpsc::unbounded_channel();
    let line = Line { out, cut: CancellationToken::new(), deaf: CancellationToken::new() };
    let gone = CancellationToken::new();
    tracker.spawn(write(to, queued, [line.cut.clone(), gone.clone()], halt.clone()));
    if let Some(greeting) = handler.greeting() {
        line.fault(0, &greeting, Bytes::new());
    }
    let mut last_stream = 0;
    loop {
        let frame = tokio::select! {
            biased;
            () = halt.died() => return,
            () = line.cut.cancelled() => return,
            () = halt.stopping.cancelled() => return,
            () = line.deaf.cancelled() => {
                hold(&line, &halt).await;
                return;
            }
            frame = Frame::read(&mut from) => frame,
        };
        let Ok(Some(frame)) = frame else {
            // Calls go on, and nobody is left to answer to.
            gone.cancel();
            return;
        };
        if let Err(why) = check(&frame, &mut last_stream) {
            line.send(&Frame::refusal(frame.stream, 3, why));
            continue;
        }
        tracker.spawn(answer(frame, Arc::clone(&handler), line.clone(), halt.clone()));
    }
}

/// Keeps a connection open without reading from it.
async fn hold(line: &Line, halt: &Halt) {
    tokio::select! {
        () = halt.died() => {}
        () = line.cut.cancelled() => {}
        () = halt.stopping.cancelled() => {}
    }
}

/// The rules of Go's server for a new stream.
fn check(frame: &Frame, last_stream: &mut u32) -> Result<(), &'static str> {
    if frame.kind != REQUEST {
        return Err("unexpected message type");
    }
    if frame.stream % 2 != 1 {
        return Err("StreamID must be odd for client initiated streams");
    }
    if frame.stream <= *last_stream {
        return Err("StreamID cannot be re-used and must increment");
    }
    *last_stream = frame.stream;
    Ok(())
}

async fn answer(frame: Frame, handler: Arc<dyn Handler>, line: Line, halt: Halt) {
    let stream = frame.stream;
    let Ok(request) = Request::decode(frame.payload) else {
        line.send(&Frame::refusal(stream, 3, "unmarshalling the request failed"));
        return;
    };
    let metadata = request.metadata.into_iter().map(|pair| (pair.key, pair.value)).collect();
    let answer = tokio::select! {
        biased;
        () = halt.dead.cancelled() => return,
        answer = handler.call(&request.service, &request.method, metadata, request.payload) => answer,
        () = line.cut.cancelled() => return,
        () = halt.stopping.cancelled() => return,
    };
    match answer {
        Answer::Reply(payload) => line.send(&Frame::response(stream, payload)),
        Answer::Refuse(failure) => line.send(&Frame::refusal(stream, failure.code, &failure.text)),
        Answer::Faulty(fault, payload) => line.fault(stream, &fault, payload),
        Answer::Never => {}
    }
}

/// The way out of a connection.
#[derive(Clone)]
struct Line {
    out: mpsc::UnboundedSender<Bytes>,
    /// Cancelled: the connection is to be closed once all that was queued before is written.
    cut: CancellationToken,
    /// Cancelled: nothing more is read.
    deaf: CancellationToken,
}

impl Line {
    fn send(&self, frame: &Frame) {
        self.raw(frame.encode());
    }

    fn raw(&self, bytes: Bytes) {
        // The writer is gone when the peer is.
        let _ = self.out.send(bytes);
    }

    fn fault(&self, stream: u32, fault: &Fault, honest: Bytes) {
        match fault {
            Fault::Raw(bytes) => self.raw(bytes.clone()),
            Fault::Oversize => {
                let payload = Bytes::from(vec![0; MAX_PAYLOAD + 1]);
                self.send(&Frame { stream, kind: RESPONSE, payload });
            }
            // Even, so no client can have opened it; and far off, so no client will.
            Fault::WrongStream => self.send(&Frame::response(stream + 0x4000_0001, honest)),
            Fault::Garbage => {
                self.send(&Frame { stream, kind: RESPONSE, payload: Bytes::from_static(&[0xff; 16]) });
            }
            Fault::Twice => {
                self.send(&Frame::response(stream, honest.clone()));
                self.send(&Frame::response(stream, honest));
            }
            Fault::Close => self.cut.cancel(),
            Fault::StopReading => self.deaf.cancel(),
        }
    }
}

/// Writes what is queued until nobody can queue any more, the connection is cut or the peer gone, or the shim is dead.
async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut queued: mpsc::UnboundedReceiver<Bytes>,
    [cut, gone]: [CancellationToken; 2],
    halt: Halt,
) {
    loop {
        let bytes = tokio::select! {
            biased;
            () = halt.dead.cancelled() => return halt.died().await,
            bytes = queued.recv() => bytes,
            () = cut.cancelled() => break,
            () = gone.cancelled() => break,
        };
        let Some(bytes) = bytes else { break };
        let written = tokio::select! {
            biased;
            () = halt.dead.cancelled() => return halt.died().await,
            written = to.write_all(&bytes) => written,
        };
        if written.is_err() {
            cut.cancel();
            return;
        }
    }
    // The peer may be gone first.
    let _ = to.shutdown().await;
}
