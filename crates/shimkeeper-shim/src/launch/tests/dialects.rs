// SPDX-License-Identifier: Apache-2.0
//! Finding out what a binary wants to be told, once.

use prost::Message as _;
use shimkeeper_proto::containerd::runtime::bootstrap::v1 as bootstrap;
use shimkeeper_proto::google::protobuf;

use super::*;

/// Keeps the input of each call, and its number.
const COUNTING: &str = "n=$(($(cat $T/n 2>/dev/null || echo 0) + 1)); echo $n > $T/n; cat > $T/in.$n";

/// Takes bootstrap parameters only: told apart by the socket's address, which options do not hold.
fn new_shim(complaint: &str) -> Scene {
    Scene::new(&format!(
        "{COUNTING}; grep -q /run/test/grpc.sock $T/in.$n || {{ echo '{complaint}' >&2; exit 1; }}; echo '{ANSWER}'"
    ))
}

fn options() -> Any {
    Any::new("containerd.runc.v1.Options", "x")
}

async fn start(scene: &Scene, memory: &DialectMemory) -> Result<Started, LaunchError> {
    scene.binary.start(&scene.cx, &scene.bundle, Some(&options()), memory, LONG).await
}

fn calls(scene: &Scene) -> u32 {
    scene.read("n").trim().parse().unwrap()
}

#[tokio::test]
async fn an_old_shim_is_given_its_options_at_once() {
    let scene = Scene::new(&format!("{COUNTING}; echo '{ANSWER}'"));
    start(&scene, &DialectMemory::new()).await.unwrap();
    assert_eq!(calls(&scene), 1);
    let given = protobuf::Any::decode(fs::read(scene.file("in.1")).unwrap().as_slice()).unwrap();
    assert_eq!((given.type_url, given.value.as_ref()), (options().type_url, b"x".as_slice()));
}

#[tokio::test]
async fn a_new_shim_is_asked_twice_once() {
    for complaint in [
        "shim was started through the deprecated API but was built against the new API",
        "bootstrap parameters do not match the command line",
    ] {
        let mut scene = new_shim(complaint);
        scene.cx.debug = true;
        scene.cx.socket_dir = Some("/run/short".into());
        let memory = DialectMemory::new();
        start(&scene, &memory).await.unwrap();
        assert_eq!(calls(&scene), 2);
        start(&scene, &memory).await.unwrap();
        assert_eq!(calls(&scene), 3, "remembered");

        let given =
            bootstrap::BootstrapParams::decode(fs::read(scene.file("in.3")).unwrap().as_slice()).unwrap();
        let extension = protobuf::Any { type_url: options().type_url, value: options().value };
        let expected = bootstrap::BootstrapParams {
            instance_id: "id".into(),
            namespace: "ns".into(),
            log_level: bootstrap::LogLevel::Debug.into(),
            containerd_version: "1.2.3".into(),
            containerd_ttrpc_address: "/run/test/ttrpc.sock".into(),
            containerd_grpc_address: "/run/test/grpc.sock".into(),
            containerd_binary: "/usr/bin/publisher".into(),
            extensions: vec![bootstrap::Extension { value: Some(extension) }],
            socket_dir: Some("/run/short".into()),
        };
        assert_eq!(given, expected);
    }
}

#[tokio::test]
async fn another_binary_under_the_same_path_is_asked_anew() {
    let mut scene = new_shim("the deprecated API");
    let memory = DialectMemory::new();
    start(&scene, &memory).await.unwrap();
    assert_eq!(calls(&scene), 2);
    fs::rename(scene.binary.path(), scene.file("moved")).unwrap();
    write_script(scene.binary.path(), &scene.read("moved"));
    scene.binary = ShimBinary::at(scene.binary.path()).unwrap();
    start(&scene, &memory).await.unwrap();
    assert_eq!(calls(&scene), 4);
}

#[tokio::test]
async fn no_other_failure_is_tried_again() {
    let scene = new_shim("mount: permission denied");
    start(&scene, &DialectMemory::new()).await.unwrap_err();
    assert_eq!(calls(&scene), 1);
    let scene = new_shim("the deprecated API");
    start(&scene, &DialectMemory::always(Dialect::Options)).await.unwrap_err();
    assert_eq!(calls(&scene), 1, "the operator has decided");
}

#[tokio::test]
async fn a_second_failure_is_the_one_that_is_told() {
    let script = "grep -q grpc.sock $T/in.$n && echo really >&2 || echo deprecated API >&2; exit 1";
    let scene = Scene::new(&format!("{COUNTING}; {script}"));
    let error = start(&scene, &DialectMemory::new()).await.unwrap_err();
    assert_eq!(calls(&scene), 2);
    assert!(error.to_string().contains("really"), "{error}");
}

#[tokio::test]
async fn a_strict_old_shim_is_understood_too() {
    let refuse = "{ echo 'failed to unmarshal options: unknown type' >&2; exit 1; }";
    let scene = Scene::new(&format!("{COUNTING}; grep -q grpc.sock $T/in.$n && {refuse}; echo '{ANSWER}'"));
    let memory = DialectMemory::starting_with(Dialect::Bootstrap);
    start(&scene, &memory).await.unwrap();
    start(&scene, &memory).await.unwrap();
    assert_eq!(calls(&scene), 3);
}
