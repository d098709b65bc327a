// SPDX-License-Identifier: Apache-2.0
//! What reaches the shim, and what comes back from it.

use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_shim::{Call, CallError, Cause, Connection, TaskApi, TraceContext};

use crate::fake::{APIS, Behaviour, FakeShim, LONG, Seen, drivers_end};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const METHODS: [&str; 17] = [
    "State",
    "Create",
    "Start",
    "Delete",
    "Pids",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Wait",
    "Stats",
    "Connect",
    "Shutdown",
];

/// Every method once, in the order of `METHODS`.
async fn call_all(to: &Connection, call: &Call) -> Result<(), CallError> {
    to.state(call, &task::StateRequest::default()).await?;
    to.create(call, &task::CreateTaskRequest::default()).await?;
    to.start(call, &task::StartRequest::default()).await?;
    to.delete(call, &task::DeleteRequest::default()).await?;
    to.pids(call, &task::PidsRequest::default()).await?;
    to.pause(call, &task::PauseRequest::default()).await?;
    to.resume(call, &task::ResumeRequest::default()).await?;
    to.checkpoint(call, &task::CheckpointTaskRequest::default()).await?;
    to.kill(call, &task::KillRequest::default()).await?;
    to.exec(call, &task::ExecProcessRequest::default()).await?;
    to.resize_pty(call, &task::ResizePtyRequest::default()).await?;
    to.close_io(call, &task::CloseIoRequest::default()).await?;
    to.update(call, &task::UpdateTaskRequest::default()).await?;
    to.wait(call, &task::WaitRequest::default()).await?;
    to.stats(call, &task::StatsRequest::default()).await?;
    to.connect(call, &task::ConnectRequest::default()).await?;
    to.shutdown(call, &task::ShutdownRequest::default()).await
}

#[tokio::test]
async fn every_method_reaches_its_service_with_namespace_trace_and_deadline() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::Answer);
        let connection = shim.dial().await;
        assert_eq!(connection.api(), api);
        let call = Call::within(LONG).traced(TraceContext::from_pairs([("traceparent", TRACEPARENT)]));
        call_all(&connection, &call).await.unwrap();
        let expected = METHODS.map(|method| Seen {
            service: api.service(),
            method: method.to_owned(),
            namespace: Some("test-ns".to_owned()),
            traceparent: Some(TRACEPARENT.to_owned()),
            has_deadline: true,
        });
        assert_eq!(shim.seen(), expected, "{api}");
    }
}

#[tokio::test]
async fn a_call_without_deadline_or_trace_says_nothing_of_them() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::Answer);
        shim.dial().await.pause(&Call::unbounded(), &task::PauseRequest::default()).await.unwrap();
        let seen = shim.seen().remove(0);
        assert_eq!((seen.has_deadline, seen.traceparent), (false, None), "{api}");
    }
}

#[tokio::test]
async fn the_longest_deadline_can_be_told() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::Answer);
        let connection = shim.dial().await;
        let call = Call::within(Duration::MAX);
        connection.connect(&call, &task::ConnectRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_status_keeps_its_kind_and_its_text() {
    let text = "task ä: \"x\" % of 100\nnot found\u{7}: not found";
    for api in APIS {
        for kind in Kind::all() {
            let shim = FakeShim::start(api, Behaviour::Fail { code: kind.code(), message: text });
            let connection = shim.dial().await;
            let error =
                connection.kill(&Call::within(LONG), &task::KillRequest::default()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{api}");
            assert_eq!(error.shim_message(), Some(text), "{api}");
            assert_eq!(error.method(), "Kill");
            assert_eq!(error.is_not_implemented(), kind == Kind::NotImplemented);
            assert!(!error.to_string().contains('\n'), "{error}");
            assert_eq!(connection.close_reason(), None, "a status is no reason to close");
        }
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_not_implemented_and_the_older_one_is_on_the_same_wire() {
    let shim = FakeShim::start(TaskApi::TtrpcV2, Behaviour::Answer);
    let mut params = shim.params.clone();
    params.api = TaskApi::TtrpcV3;
    let newer = crate::fake::dial(&params, &shim.tasks, LONG).await.unwrap();
    let call = Call::within(LONG);
    let request = task::ConnectRequest { id: "a".into() };
    let error = newer.connect(&call, &request).await.unwrap_err();
    assert!(error.is_not_implemented(), "{error}");
    let older = newer.downgraded().expect("there is a version 2");
    assert_eq!((newer.api(), older.api()), (TaskApi::TtrpcV3, TaskApi::TtrpcV2));
    older.connect(&call, &request).await.unwrap();
    assert!(older.downgraded().is_none());
    newer.close();
    assert!(older.close_reason().is_some(), "one wire has one end");
}

#[tokio::test]
async fn grpc_has_nothing_to_downgrade_to() {
    let shim = FakeShim::start(TaskApi::GrpcV3, Behaviour::Answer);
    assert!(shim.dial().await.downgraded().is_none());
}

#[tokio::test]
async fn what_is_too_large_fails_alone() {
    for (api, limit) in
        [(TaskApi::TtrpcV2, 4 << 20), (TaskApi::TtrpcV3, 4 << 20), (TaskApi::GrpcV3, 16 << 20)]
    {
        let shim = FakeShim::start(api, Behaviour::Large { bytes: limit + 1 });
        let connection = shim.dial().await;
        let call = Call::within(LONG);
        let id = "x".repeat(limit + 1);
        let error = connection.pause(&call, &task::PauseRequest { id }).await.unwrap_err();
        assert!(matches!(error.cause(), Cause::TooLarge { .. }), "{api}: {error}");
        assert_eq!(shim.seen(), [], "{api}: it is not even sent");
        let error = connection.state(&call, &task::StateRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ResourceExhausted, "{api}: {error}");
        connection.connect(&call, &task::ConnectRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_large_answer_within_the_limit_arrives_whole() {
    for (api, bytes) in [(TaskApi::TtrpcV3, 3 << 20), (TaskApi::GrpcV3, 15 << 20)] {
        let shim = FakeShim::start(api, Behaviour::Large { bytes });
        let connection = shim.dial().await;
        let state = connection.state(&Call::within(LONG), &task::StateRequest::default()).await.unwrap();
        assert_eq!(state.id.len(), bytes, "{api}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_one_connection() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::Answer);
        let connection = shim.dial().await;
        let callers = tokio_util::task::TaskTracker::new();
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let connection = connection.clone();
                callers.spawn(async move {
                    for _ in 0..100 {
                        let request = task::ConnectRequest::default();
                        connection.connect(&Call::within(LONG), &request).await.unwrap();
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(shim.seen().len(), 1600, "{api}");
        drop(connection);
        drivers_end(&shim.tasks).await;
    }
}
