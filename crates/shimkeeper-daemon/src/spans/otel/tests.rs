// SPDX-License-Identifier: Apache-2.0
//! A client's trace, through the daemon's socket to a shim, and what a collector sees of it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shimkeeper::{Config, CreateTask, Manager, TaskKey};
use shimkeeper_api::{About, Services};
use shimkeeper_proto::containerd::services::tasks::v1::ListPidsRequest;
use shimkeeper_store::Store;
use shimkeeper_testkit::{Method, Received, SOCKET_DIR_ENV, Script, TestDirs, TestSpec, fake_shim_binary};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Seen};
use super::*;
use crate::accept::Gate;
use crate::calls::Calls;
use crate::observers::Observers;
use crate::server::{self, Served};
use crate::socket::{Activated, Socket};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";
const PATIENCE: Duration = Duration::from_mins(1);
/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const KINDS: (i32, i32) = (2, 3);

/// One call of a client that traces; the status that came back.
async fn call(socket: &std::path::Path, path: &str, message: &impl prost::Message) -> String {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let payload = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    let request = http::Request::post(format!("http://here{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("containerd-namespace", "ns")
        .header("traceparent", format!("00-{TRACE}-{CLIENT}-01"))
        .header("baggage", "user=alice")
        .body(Full::new(Bytes::from(frame)))
        .unwrap();
    let answer = client.send_request(request).await.unwrap();
    let headers = answer.headers().clone();
    let collected = answer.into_body().collect().await.unwrap();
    let status = collected.trailers().unwrap_or(&headers).get("grpc-status").unwrap();
    status.to_str().unwrap().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_trace_goes_through_us_into_the_shim() {
    let (dirs, mut collector) = (TestDirs::new(), Collector::start().await);
    let spans = Spans::start(&collector.endpoint).unwrap().unwrap();
    let library = Config::new(dirs.state(), dirs.root())
        .search_path(vec![fake_shim_binary().parent().unwrap().to_owned()])
        .env(SOCKET_DIR_ENV, dirs.sockets())
        .observer(Observers::of(None, Some(&spans)).unwrap());
    let manager = Manager::open(library).await.unwrap();
    let calls = dirs.path().join("calls");
    let spec = TestSpec::fake(["sleep"]).script(&Script::new().calls(&calls)).to_bytes();
    let key = TaskKey::parse("ns", "one").unwrap();
    let task = manager.create(CreateTask::new(key, spec).runtime("io.containerd.fake.v2")).await.unwrap();
    task.start().await.unwrap();

    let store = Store::open_or_new(&Store::dir_below(&dirs.root())).unwrap();
    let api = Services::new(manager.clone(), store, About::default()).api();
    let path = dirs.socket("c.sock");
    let socket = Socket::open(&path, (None, None), &mut Activated::default()).unwrap();
    let served = Served { api, calls: Calls::new(9), spans: Some(spans.clone()) };
    let stop = CancellationToken::new();
    let client = async {
        let request = ListPidsRequest { container_id: "one".to_owned() };
        let status = call(&path, "/containerd.services.tasks.v1.Tasks/ListPids", &request).await;
        stop.cancel();
        status
    };
    let serving = server::serve(&socket, served, Gate::new(9, 9), stop.clone());
    let (served, status) =
        tokio::time::timeout(PATIENCE, Box::pin(async { tokio::join!(serving, client) })).await.unwrap();
    served.unwrap();
    assert_eq!(status, "0");
    task.kill(9, true).await.unwrap();
    task.wait().await.unwrap();
    task.delete().await.unwrap();
    manager.detach().await;
    spans.end().await;

    let mut seen: Vec<Seen> = Vec::new();
    while let Ok(span) = collector.spans.try_recv() {
        seen.push(span);
    }
    let named = |name: &str| seen.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{seen:?}"));
    let (request, question) = (named("containerd.services.tasks.v1.Tasks/ListPids"), named("shim/Pids"));
    assert_eq!(seen.len(), 2, "what nobody traced has no span: {seen:?}");
    assert_eq!((hex(&request.trace), hex(&request.parent)), (TRACE.to_owned(), CLIENT.to_owned()));
    assert_eq!((&question.trace, &question.parent), (&request.trace, &request.id));
    assert_eq!((request.kind, question.kind), KINDS);
    let received = Received::read_all(&calls).unwrap();
    let pids = received.iter().find(|call| call.method == Method::Pids).unwrap();
    let told = |key: &str| pids.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    assert_eq!(told("traceparent"), Some(format!("00-{TRACE}-{}-01", hex(&question.id))));
    assert_eq!(told("baggage").as_deref(), Some("user=alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_no_trace_begins_one_and_a_failure_is_marked() {
    let mut collector = Collector::start().await;
    let spans = Spans::start(&collector.endpoint).unwrap().unwrap();
    let mut request = http::Request::new(());
    *request.uri_mut() = "/a.Service/Method".parse().unwrap();
    let mut span = spans.request(&mut request);
    let ours = TraceContext::from_pairs(
        request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())),
    );
    assert!(ours.traceparent().is_some());
    span.told(&HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("5"))]));
    drop(span);
    spans.end().await;
    let seen = collector.spans.try_recv().unwrap();
    assert_eq!((seen.name.as_str(), seen.parent.len()), ("a.Service/Method", 0));
    assert!(ours.traceparent().unwrap().contains(&hex(&seen.id)));
}
