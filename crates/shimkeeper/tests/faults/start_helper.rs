// SPDX-License-Identifier: Apache-2.0
//! The binary's `start` action: every way in which it can fail, mislead, or not end. Whatever it did, what it left
//! running is ended and what it left on disk is removed before the caller hears of it.

use std::process::Command;
use std::time::{Duration, Instant};

use shimkeeper::Kind;
use shimkeeper_testkit::{Answer, Format, Lease, Script, StartStep, fake_shim_binary};
use tokio::task::JoinSet;

use crate::bench::{Bench, SHORT, chain, end, key, request};
use crate::oracle;

fn steps(steps: impl IntoIterator<Item = StartStep>) -> Script {
    Script::new().start(steps)
}

fn answer() -> StartStep {
    StartStep::Answer(Answer::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_in_the_shims_own_words() {
    let bench = Bench::new().await;
    let script = steps([StartStep::Stderr("no \u{1b}[31mluck".into()), StartStep::Exit(1)]);
    let error = bench.refused(&script, Kind::FailedPrecondition, "no \\u{1b}[31mluck").await;
    assert!(error.to_string().contains("exit status 1"), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_are_not_dialled() {
    let bench = Bench::new().await;
    let script = steps([StartStep::Print(b"\xff\xfe\0random"[..].into())]);
    bench.refused(&script, Kind::InvalidArgument, "fffe00").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_none() {
    Bench::new().await.refused(&steps([]), Kind::InvalidArgument, "printed nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_is_refused_and_its_server_ended() {
    let bench = Bench::new().await;
    for format in [Format::Json, Format::Proto] {
        let answer = Answer { version: 4, format, ..Answer::default() };
        let script = steps([StartStep::Serve, StartStep::Answer(answer)]);
        bench.refused(&script, Kind::NotImplemented, "version (4)").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_protocol_is_refused_and_its_server_ended() {
    let answer = Answer { protocol: "http".into(), ..Answer::default() };
    let script = steps([StartStep::Serve, StartStep::Answer(answer)]);
    Bench::new().await.refused(&script, Kind::InvalidArgument, "http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_nobody_listens_on_is_rolled_back() {
    let bench = Bench::new().await;
    bench.refused(&steps([StartStep::DeadSocket, answer()]), Kind::Unavailable, "nobody listens").await;
    let nowhere = Answer { address: Some("unix:///nowhere/at/all".into()), ..Answer::default() };
    // A server is there all the same, only not where it is said to be.
    let script = steps([StartStep::Serve, StartStep::Answer(nowhere)]);
    bench.refused(&script, Kind::Unavailable, "no such socket").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_on_standard_error_is_no_failure() {
    let bench = Bench::new().await;
    let script = steps([StartStep::Stderr("careful".into()), StartStep::Serve, answer()]);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_cut() {
    let bench = Bench::new().await;
    let began = Instant::now();
    let script = steps([StartStep::Flood(1 << 40)]);
    bench.refused(&script, Kind::FailedPrecondition, "more than 65536 bytes").await;
    let script = steps([StartStep::Serve, answer(), StartStep::Flood(64 << 20)]);
    bench.refused(&script, Kind::FailedPrecondition, "more than 65536 bytes").await;
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_never_ends_has_its_time() {
    let bench = Bench::with(|d| d.launch = SHORT).await;
    let error = bench.create("one", &["sleep"], &steps([StartStep::Hang])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{}", chain(&error));
    oracle::refusal(&error);
    bench.is_clean();
}

/// One thread for everything: what stands still on it stops the deadline, too.
#[tokio::test]
async fn a_binary_on_a_disk_that_hangs_stops_nobody_else() {
    let bench = Bench::with(|d| d.launch = SHORT).await;
    let binary = bench.dirs.path().join("containerd-shim-far-v2");
    // By a process that is gone then: what we held open for writing could be inherited, and not be executed.
    assert!(Command::new("cp").arg(fake_shim_binary()).arg(&binary).status().unwrap().success());
    let hanging = Lease::on(&binary).unwrap();
    let request = request("one", &["sleep"], &steps([StartStep::Hang])).runtime(binary.display().to_string());
    let error = bench.manager.create(request).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{}", chain(&error));
    oracle::refusal(&error);
    assert!(bench.manager.list().is_empty());
    // The child becomes the binary after all, and is killed for it.
    drop(hanging);
    bench.idle().await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ended_though_its_helper_hangs() {
    let bench = Bench::with(|d| d.launch = Duration::from_secs(2)).await;
    let script = steps([StartStep::Serve, answer(), StartStep::Hang]);
    bench.refused(&script, Kind::DeadlineExceeded, "did not finish").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_ends_a_helper_that_hangs() {
    let bench = Bench::new().await;
    let marker = bench.dirs.state().join("io.containerd.runtime.v2.task/ns/one/fake-shim.json");
    let script = steps([StartStep::Hang]);
    let creating = bench.create("one", &["sleep"], &script);
    tokio::select! {
        _ = creating => panic!("a helper that hangs does not answer"),
        () = crate::bench::until(|| marker.exists()) => {}
    }
    // The undoing goes on in the background; the id is free when it is done.
    bench.id_becomes_free().await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_on_the_helpers_pipes_is_not_waited_for() {
    let bench = Bench::new().await;
    let began = Instant::now();
    let script = steps([StartStep::ForkHoldPipe(15_000), StartStep::Serve, answer()]);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    task.start().await.unwrap();
    end(&task).await;
    // It is nobody's child, and ends by itself.
    bench.dirs.sweep().unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_answer_before_a_bad_end_is_no_answer() {
    let bench = Bench::new().await;
    let script = steps([StartStep::Serve, answer(), StartStep::Exit(1)]);
    bench.refused(&script, Kind::FailedPrecondition, "exit status 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_the_helper_removes_is_a_clean_error() {
    let bench = Bench::new().await;
    bench.refused(&steps([StartStep::Serve, StartStep::DeleteBundle, answer()]), Kind::NotFound, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_may_be_joined_and_outlives_whoever_joined_it() {
    let bench = Bench::new().await;
    let host = bench.honest("host", &["sleep"]).await;
    host.start().await.unwrap();
    let socket = std::fs::read_to_string(host.bundle().join("bootstrap.json")).unwrap();
    let socket: serde_json::Value = serde_json::from_str(&socket).unwrap();
    let joins = Answer { address: Some(socket["address"].as_str().unwrap().into()), ..Answer::default() };
    let guest = bench.create("guest", &["sleep"], &steps([StartStep::Answer(joins)])).await.unwrap();
    assert_eq!(guest.shim_pid(), host.shim_pid());
    guest.start().await.unwrap();
    end(&guest).await;
    assert_eq!(host.state().await.unwrap().status, shimkeeper::Status::Running);
    end(&host).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_launches_at_once_all_get_their_turn() {
    let bench = Bench::new().await;
    let mut creating = JoinSet::new();
    for n in 0..16 {
        let (manager, request) =
            (bench.manager.clone(), request(&format!("t{n}"), &["sleep"], &Script::new()));
        creating.spawn(async move { manager.create(request).await.unwrap().delete().await.unwrap() });
    }
    creating.join_all().await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_shim_names_where_it_was_looked_for() {
    let bench = Bench::new().await;
    let request = request("one", &["sleep"], &Script::new()).runtime("io.containerd.missing.v2");
    let error = bench.manager.create(request).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("containerd-shim-missing-v2"), "{error}");
    assert!(error.hint().is_some());
    oracle::refusal(&error);
    assert_eq!(bench.manager.get(&key("one")).unwrap_err().kind(), Kind::NotFound);
    bench.is_clean();
}
