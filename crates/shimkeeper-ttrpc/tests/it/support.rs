// SPDX-License-Identifier: Apache-2.0
//! A service with scripted methods, and both ways to reach it: through the client, and frame by frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use shimkeeper_ttrpc::frame::{Decoded, Decoder, Flags, Frame, Header, MessageType, encode_into};
use shimkeeper_ttrpc::{
    Answer, Client, ClientLimits, Context, Request, Response, Server, ServerLimits, Service, Status, code,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The name the script is registered under.
pub(crate) const SERVICE: &str = "test.Script";

/// A message with one `bytes` field, to carry anything.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) data: Bytes,
}

impl Blob {
    pub(crate) fn of(data: impl Into<Bytes>) -> Self {
        Self { data: data.into() }
    }
}

/// A service whose method names say what it does.
#[derive(Debug)]
pub(crate) struct Script {
    /// Calls that have reached a handler.
    pub(crate) entered: AtomicUsize,
    /// `Gated` calls wait for a permit each.
    pub(crate) gate: Semaphore,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { entered: AtomicUsize::new(0), gate: Semaphore::new(0) })
    }

    pub(crate) fn entered(&self) -> usize {
        self.entered.load(Ordering::SeqCst)
    }
}

impl Service for Script {
    fn call<'a>(&'a self, method: &'a str, payload: Bytes, cx: &'a Context) -> Answer<'a> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        assert!(method != "PanicAtOnce", "scripted: at once");
        Box::pin(async move {
            match method {
                "Echo" => Ok(payload),
                "Gated" => {
                    self.gate.acquire().await.expect("never closed").forget();
                    Ok(payload)
                }
                "Hang" => std::future::pending().await,
                "Large" => Ok(Blob::of(vec![0; 5 << 20]).encode_to_vec().into()),
                "Fail" => Err(Status::new(code::NOT_FOUND, "no such thing: ∅")),
                "Garbage" => Ok(Bytes::from_static(&[0xff; 8])),
                "Panic" => panic!("scripted: later"),
                "Metadata" => {
                    let pairs: Vec<_> = cx.metadata.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    Ok(Blob::of(pairs.join(";")).encode_to_vec().into())
                }
                "Peer" => Ok(Blob::of(format!("{:?}", cx.peer)).encode_to_vec().into()),
                _ => Err(Status::unknown_method(method)),
            }
        })
    }
}

/// Tasks that end with the test, and what it needs of both sides.
pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) script: Arc<Script>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
}

impl Pair {
    /// A client and a server on a stream that holds 64 KiB each way.
    pub(crate) fn new() -> Self {
        let (near, far) = duplex(64 << 10);
        let (client, driver) = Client::new(near, ClientLimits::default());
        let (script, stop) = (Script::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        tasks.spawn(serve(far, Arc::clone(&script), ServerLimits::default(), stop.clone()));
        Self { client, script, stop, tasks }
    }
}

/// Serves the script on one stream, whoever the peer is.
pub(crate) async fn serve(
    stream: DuplexStream,
    script: Arc<Script>,
    limits: ServerLimits,
    stop: CancellationToken,
) {
    let server = Server::new(limits).service(SERVICE, script).require_same_user(false);
    server.serve_stream(stream, None, stop).await;
}

/// A peer that speaks in frames, or in anything else.
pub(crate) struct Raw {
    pub(crate) stream: DuplexStream,
    decoder: Decoder,
}

impl Raw {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        Self { stream, decoder: Decoder::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the peer reads");
    }

    pub(crate) async fn send_frame(&mut self, id: u32, kind: MessageType, flags: Flags, payload: &[u8]) {
        let mut bytes = BytesMut::new();
        encode_into(&mut bytes, id, kind, flags, payload);
        self.send(&bytes).await;
    }

    pub(crate) async fn send_header(&mut self, length: u32, stream_id: u32, kind: u8, flags: u8) {
        let header = Header { length, stream_id, message_type: MessageType(kind), flags: Flags(flags) };
        self.send(&header.to_bytes()).await;
    }

    pub(crate) async fn request(&mut self, id: u32, method: &str, data: &[u8]) {
        self.send_frame(id, MessageType::REQUEST, Flags::NONE, &envelope(SERVICE, method, data)).await;
    }

    pub(crate) async fn respond(&mut self, id: u32, data: &[u8]) {
        let payload = Blob::of(data.to_vec()).encode_to_vec().into();
        let response = Response { status: None, payload };
        self.send_frame(id, MessageType::RESPONSE, Flags::NONE, &response.encode_to_vec()).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.decode().expect("what we send is in order") {
                Some(Decoded::Frame(frame)) => return Some(frame),
                Some(Decoded::Oversize(header)) => panic!("we sent {header:?}"),
                None => {}
            }
            // A duplex that the other side dropped reads as its end.
            if self.stream.read_buf(&mut self.decoder.space()).await.expect("a duplex reads") == 0 {
                return None;
            }
        }
    }

    /// The next response: its stream and what it holds.
    pub(crate) async fn response(&mut self) -> Option<(u32, Response)> {
        let frame = self.frame().await?;
        assert_eq!(frame.header.message_type, MessageType::RESPONSE);
        Some((frame.header.stream_id, Response::decode(frame.payload).expect("an envelope")))
    }
}

/// An encoded request envelope.
pub(crate) fn envelope(service: &str, method: &str, data: &[u8]) -> Vec<u8> {
    let payload = Blob::of(data.to_vec()).encode_to_vec().into();
    let (service, method) = (service.to_owned(), method.to_owned());
    Request { service, method, payload, timeout_nano: 0, metadata: Vec::new() }.encode_to_vec()
}

/// Waits for something to become true; with a bound, so that a test fails instead of hanging.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let bound = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), bound).await.unwrap_or_else(|_| panic!("{what}"));
}
