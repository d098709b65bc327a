// SPDX-License-Identifier: Apache-2.0
//! A collector of spans in this process, for tests: what OTLP says of them, read by nothing that writes them.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What is of interest of `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfResource {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Seen>,
}

/// A span.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Seen {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
}

/// Listens for as long as it is there.
pub(super) struct Collector {
    pub(super) endpoint: String,
    pub(super) spans: mpsc::UnboundedReceiver<Seen>,
    _serving: JoinSet<()>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (tell, spans) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let tell = tell.clone();
                let take = service_fn(move |request| take_in(request, tell.clone()));
                let http = http2::Builder::new(TokioExecutor::new());
                let connection = http.serve_connection(TokioIo::new(stream), take);
                connections.spawn(async move { connection.await.unwrap() });
            }
        });
        Self { endpoint, spans, _serving: serving }
    }
}

async fn take_in(
    request: Request<Incoming>,
    tell: mpsc::UnboundedSender<Seen>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), EXPORT);
    let message = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(message[0], 0, "it is not compressed");
    // Behind a mark and a length, as gRPC has it.
    for resource in Export::decode(&message[5..]).unwrap().resources {
        for span in resource.scopes.into_iter().flat_map(|scope| scope.spans) {
            tell.send(span).unwrap();
        }
    }
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let nothing = Full::new(Bytes::from_static(&[0; 5]));
    let mut response = Response::new(nothing.with_trailers(std::future::ready(Some(Ok(trailers)))));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
