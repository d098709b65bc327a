// SPDX-License-Identifier: Apache-2.0
//! Sandboxes that run: their whole life through the controller, with a task in one.

use shimkeeper_proto::containerd::services::sandbox::v1 as wire;
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_testkit::{Script, TestSpec};
use tonic::Code;

use crate::bench::{Bench, SPEC, ask, container, said, topics_to};
use wire::controller_client::ControllerClient;
use wire::store_client::StoreClient;

const SANDBOXER: &str = "shim";

fn record() -> types::Sandbox {
    let spec = TestSpec::fake(["pause"]).script(&Script::new()).to_bytes();
    types::Sandbox {
        sandbox_id: "pod".into(),
        runtime: Some(types::sandbox::Runtime { name: "io.containerd.fake.v2".into(), options: None }),
        spec: Some(Any { type_url: SPEC.into(), value: spec }),
        sandboxer: SANDBOXER.into(),
        ..types::Sandbox::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_with_a_task_in_it() {
    let bench = Bench::new().await;
    let mut controller = ControllerClient::new(bench.api.clone());
    let mut events = bench.subscribe(&["topic~=|^/sandboxes/|"]).await;
    let (sandbox_id, sandboxer) = ("pod".to_owned(), SANDBOXER.to_owned());
    let create = wire::StoreCreateRequest { sandbox: Some(record()) };
    StoreClient::new(bench.api.clone()).create(ask(create)).await.unwrap();

    // What the request leaves out is in the record.
    let create = wire::ControllerCreateRequest {
        sandbox_id: sandbox_id.clone(),
        sandboxer: sandboxer.clone(),
        ..wire::ControllerCreateRequest::default()
    };
    let made = controller.create(ask(create.clone())).await.unwrap().into_inner();
    assert_eq!(made.sandbox_id, "pod");
    let error = controller.create(ask(create)).await.unwrap_err();
    assert_eq!(said(&error), (Code::AlreadyExists, "sandbox \"pod\": already exists"));
    let start = wire::ControllerStartRequest { sandbox_id: sandbox_id.clone(), sandboxer: sandboxer.clone() };
    let started = controller.start(ask(start)).await.unwrap().into_inner();
    assert!(started.address.contains("unix://") && started.version >= 2, "{started:?}");
    let status = wire::ControllerStatusRequest {
        sandbox_id: sandbox_id.clone(),
        verbose: false,
        sandboxer: sandboxer.clone(),
    };
    let state = controller.status(ask(status.clone())).await.unwrap().into_inner();
    assert_eq!((state.state.as_str(), state.exited_at), ("SANDBOX_READY", None));

    // A label is in the record and no concern of the shim's; what it runs is, and it has no way to be told.
    let update = |change: types::Sandbox, fields: &[&str]| wire::ControllerUpdateRequest {
        sandbox_id: sandbox_id.clone(),
        sandboxer: sandboxer.clone(),
        sandbox: Some(change),
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
    };
    controller.update(ask(update(record(), &["labels", "extensions.x"]))).await.unwrap();
    for (change, fields) in
        [(record(), &[][..]), (types::Sandbox::default(), &["spec"]), (record(), &["runtime.name"])]
    {
        let error = controller.update(ask(update(change, fields))).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{fields:?}: {error}");
    }

    let inside = container("c1", &["sleep"], &Script::new());
    let inside =
        shimkeeper_proto::containerd::services::containers::v1::Container { sandbox: "pod".into(), ..inside };
    bench.record(inside).await;
    bench.create("c1").await.unwrap();
    bench.start("c1", "").await.unwrap();
    let sandbox = bench.manager.sandboxes()[0].shim_pid();
    assert_eq!(bench.manager.list()[0].shim_pid(), sandbox, "it has the sandbox's shim");
    let shutdown =
        wire::ControllerShutdownRequest { sandbox_id: sandbox_id.clone(), sandboxer: sandboxer.clone() };
    let error = controller.shutdown(ask(shutdown.clone())).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    bench.end("c1").await;

    let stop = wire::ControllerStopRequest { sandbox_id: sandbox_id.clone(), timeout_secs: 0, sandboxer };
    controller.stop(ask(stop.clone())).await.unwrap();
    controller.shutdown(ask(shutdown)).await.unwrap();
    assert_eq!(
        topics_to(&mut events, "/sandboxes/exit").await,
        ["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"]
    );
    // One that is gone has stopped, and has ended.
    controller.stop(ask(stop)).await.unwrap();
    assert!(controller.status(ask(status)).await.unwrap().into_inner().exited_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_controller() {
    let bench = Bench::new().await;
    let mut controller = ControllerClient::new(bench.api.clone());
    for (sandboxer, code) in [("", Code::InvalidArgument), ("podsandbox", Code::NotFound)] {
        let request = wire::ControllerStopRequest {
            sandbox_id: "pod".into(),
            timeout_secs: 0,
            sandboxer: sandboxer.into(),
        };
        assert_eq!(controller.stop(ask(request)).await.unwrap_err().code(), code, "{sandboxer}");
    }
}
