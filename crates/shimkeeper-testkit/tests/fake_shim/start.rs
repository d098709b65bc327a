// SPDX-License-Identifier: Apache-2.0
//! The `start` action: every answer it can give, and every way it can fail to.

use std::time::Duration;

use prost::Message;
use shimkeeper_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use shimkeeper_proto::containerd::types::RuntimeInfo;
use shimkeeper_testkit::{Answer, Dialect, Script, StartStep, TestSpec};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::client::{Client, Protocol};
use crate::launch::{Bench, ID, socket_of};

/// Runs `start` with these steps; its standard output, standard error and code.
async fn start(steps: impl IntoIterator<Item = StartStep>) -> (Vec<u8>, String, Option<i32>) {
    let bench = Bench::new(&Script::new().start(steps), &["sleep"]);
    let output = bench.run("start").await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    bench.dirs.sweep().unwrap();
    (output.stdout, stderr, output.status.code())
}

#[tokio::test]
async fn the_legacy_answer_is_a_bare_address() {
    let bench = Bench::new(&Script::new().answer(Answer::legacy()), &["sleep"]);
    let address = String::from_utf8(bench.run("start").await.stdout).unwrap();
    let client = Client::dial(&socket_of(&address), Protocol::TtrpcV2).await;
    client.connect(ID).await.unwrap();
    bench.end(&client).await;
}

#[tokio::test]
async fn the_protobuf_answer_is_a_message() {
    let bench = Bench::new(&Script::new().answer(Answer::proto()), &["sleep"]);
    let result = BootstrapResult::decode(&bench.run("start").await.stdout[..]).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    let client = Client::dial(&socket_of(&result.address), Protocol::TtrpcV3).await;
    bench.end(&client).await;
}

#[tokio::test]
async fn a_second_start_joins_the_server_that_is_there() {
    let bench = Bench::new(&Script::new(), &["sleep"]);
    let (first, _) = bench.serve().await;
    let pid = Client::dial(&first, Protocol::TtrpcV3).await.connect(ID).await.unwrap().shim_pid;
    let client = bench.client().await;
    assert_eq!(client.connect(ID).await.unwrap().shim_pid, pid);
    bench.end(&client).await;
}

#[tokio::test]
async fn an_answer_may_lie() {
    let answer = |address: &str| Answer {
        version: 4,
        protocol: "http".into(),
        address: Some(address.into()),
        ..Answer::default()
    };
    let (stdout, _, code) = start([StartStep::Answer(answer("unix:///nowhere"))]).await;
    let json: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(json, serde_json::json!({"version": 4, "protocol": "http", "address": "unix:///nowhere"}));
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn the_address_of_a_grpc_shim_may_be_a_bare_path() {
    let answer = Answer { address: Some("{socket}".into()), ..Answer::grpc_v3() };
    let bench = Bench::new(&Script::new().answer(answer), &["sleep"]);
    let output = bench.run("start").await;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let client = Client::dial(json["address"].as_str().unwrap().as_ref(), Protocol::GrpcV3).await;
    client.connect(ID).await.unwrap();
    bench.end(&client).await;
}

#[tokio::test]
async fn a_dead_socket_is_a_file_at_which_nobody_listens() {
    let bench = Bench::new(
        &Script::new().start([StartStep::DeadSocket, StartStep::Answer(Answer::default())]),
        &["x"],
    );
    let (socket, _) = bench.serve().await;
    assert!(std::fs::exists(&socket).unwrap());
    let refused = UnixStream::connect(&socket).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn steps_print_fail_and_flood() {
    assert_eq!(
        start([StartStep::Print(b"\xff\0"[..].into())]).await,
        (b"\xff\0".to_vec(), String::new(), Some(0))
    );
    assert_eq!(
        start([StartStep::Stderr("no luck".into()), StartStep::Exit(3)]).await,
        (Vec::new(), "no luck\n".into(), Some(3))
    );
    assert_eq!(start([StartStep::Flood(100_000)]).await.0.len(), 100_000);
    assert_eq!(start([]).await, (Vec::new(), String::new(), Some(0)));
    assert_eq!(start([StartStep::Delay(1), StartStep::Exit(0)]).await.2, Some(0));
}

#[tokio::test]
async fn a_good_answer_does_not_mean_a_good_end() {
    let bench = Bench::new(
        &Script::new().start([StartStep::Serve, StartStep::Answer(Answer::default()), StartStep::Exit(1)]),
        &["sleep"],
    );
    let output = bench.run("start").await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(bench.dirs.leftovers().processes.len(), 1, "the server that was announced runs");
    bench.dirs.sweep().unwrap();
}

#[tokio::test]
async fn a_hang_is_one() {
    let bench = Bench::new(&Script::new().start([StartStep::Hang]), &["sleep"]);
    assert!(bench.hangs("start", Duration::from_millis(100)).await);
    bench.dirs.sweep().unwrap();
}

#[tokio::test]
async fn a_child_holds_the_pipes_longer_than_the_helper_lives() {
    let bench = Bench::new(&Script::new().start([StartStep::ForkHoldPipe(60_000)]), &["sleep"]);
    let mut helper = bench.command("start").spawn().unwrap();
    assert!(helper.wait().await.unwrap().success());
    // While it executes its program it has no command line to be known by.
    let holder = async {
        loop {
            match bench.dirs.leftovers().processes {
                none if none.is_empty() => tokio::task::yield_now().await,
                found => break found,
            }
        }
    };
    let holder = tokio::time::timeout(Duration::from_secs(10), holder).await.unwrap();
    assert!(holder[0].command.contains("hold 60000"), "{holder:?}");
    bench.dirs.sweep().unwrap();
    // Only now is the pipe at its end.
    let end = tokio::io::AsyncReadExt::read(helper.stdout.as_mut().unwrap(), &mut [0; 1]).await;
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn the_bundle_can_vanish() {
    let bench = Bench::new(&Script::new().start([StartStep::DeleteBundle]), &["sleep"]);
    assert!(bench.run("start").await.status.success());
    assert!(!std::fs::exists(&bench.bundle).unwrap());
}

#[tokio::test]
async fn the_form_of_standard_input_is_checked() {
    let newer = BootstrapParams { instance_id: ID.into(), namespace: "ns".into(), ..Default::default() };
    for (accepted, input, good) in [
        (Dialect::Bootstrap, newer.encode_to_vec(), true),
        (Dialect::Bootstrap, Vec::new(), false),
        (Dialect::Legacy, newer.encode_to_vec(), false),
        (Dialect::Legacy, Vec::new(), true),
        (Dialect::Either, newer.encode_to_vec(), true),
    ] {
        let bench = Bench::new(&Script::new().start([]).stdin(accepted), &["sleep"]);
        let mut helper = bench.command("start").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut stdin = helper.stdin.take().unwrap();
        stdin.write_all(&input).await.unwrap();
        drop(stdin);
        assert_eq!(helper.wait().await.unwrap().success(), good, "{accepted:?}");
    }
}

#[tokio::test]
async fn the_annotation_of_a_container_overrides_the_script() {
    let bench = Bench::new(&Script::new(), &["sleep"]);
    let own = Script::new().start([StartStep::Exit(9)]);
    let spec = TestSpec::fake(["sleep"]).script(&own).to_bytes();
    std::fs::write(bench.bundle.join("config.json"), spec).unwrap();
    assert_eq!(bench.run("start").await.status.code(), Some(9));
}

#[tokio::test]
async fn info_names_the_runtime() {
    let bench = Bench::new(&Script::new(), &["sleep"]);
    let output = tokio::process::Command::new(crate::launch::BINARY).arg("-info").output().await.unwrap();
    assert_eq!(RuntimeInfo::decode(&output.stdout[..]).unwrap().name, "io.containerd.fake.v2");
    assert!(!bench.run("nonsense").await.status.success());
}

#[tokio::test]
async fn a_server_ends_by_itself_when_its_time_is_over() {
    let bench = Bench::new(&Script::new().lifetime(Duration::from_millis(50)), &["sleep"]);
    bench.serve().await;
    bench.dirs.idle(crate::client::DEADLINE).await.unwrap();
}

#[test]
fn other_packages_find_the_binary_beside_their_tests() {
    let found = shimkeeper_testkit::fake_shim_binary();
    assert_eq!(
        found.canonicalize().unwrap(),
        std::path::Path::new(crate::launch::BINARY).canonicalize().unwrap()
    );
}
