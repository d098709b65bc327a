// SPDX-License-Identifier: Apache-2.0
//! The in-process twin: the same model, under a clock that stands still.

use std::time::Duration;

use shimkeeper_proto::containerd::events::TaskExit;
use shimkeeper_testkit::{EventRecorder, FakeShim, Script, TestDirs, TestSpec};
use tokio::time::Instant;

use crate::client::{Client, DEADLINE, Failed, Protocol};
use crate::launch::ID;

#[tokio::test(start_paused = true)]
async fn a_process_lives_by_the_clock_of_the_test() {
    let dirs = TestDirs::new();
    let bundle = dirs.bundle(ID, &TestSpec::fake(["exit-after-ms", "3000", "4"]).to_bytes());
    let shim = FakeShim::new(Script::new());
    let client = Client::over(shim.connect(), Protocol::TtrpcV3).await;
    client.create(ID, &bundle).await.unwrap();
    client.start(ID, "").await.unwrap();
    let began = Instant::now();
    assert_eq!(client.wait(ID, "").await, Ok(4));
    assert_eq!(began.elapsed().as_secs(), 3);
    client.delete(ID, "").await.unwrap();
    client.shutdown(ID).await;
    assert!(shim.is_gone());
}

#[tokio::test]
async fn a_test_ends_a_process_and_kills_the_shim() {
    let dirs = TestDirs::new();
    let bundle = dirs.bundle(ID, &TestSpec::fake(["sleep"]).to_bytes());
    let recorder = EventRecorder::bind(dirs.socket("events")).unwrap();
    let shim = FakeShim::with_events(Script::new(), "ns", Some(recorder.path().to_owned()));
    let client = Client::over(shim.connect(), Protocol::TtrpcV3).await;
    client.create(ID, &bundle).await.unwrap();
    client.start(ID, "").await.unwrap();
    assert!(shim.end_process(ID, "", 99));
    assert_eq!(client.wait(ID, "").await, Ok(99));
    assert!(!shim.end_process(ID, "", 99));
    let seen = recorder.wait_for_topics(DEADLINE, &["/tasks/start", "/tasks/exit"]).await.unwrap();
    assert_eq!(seen.last().unwrap().payload::<TaskExit>().unwrap().exit_status, 99);
    assert_eq!(seen, shim.wait_for_events(DEADLINE, |seen| seen.len() == 3).await.unwrap());

    shim.die();
    assert!(matches!(client.connect(ID).await, Err(Failed::Wire(_))));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_is_said_with_what_did() {
    let dirs = TestDirs::new();
    let recorder = EventRecorder::bind(dirs.socket("events")).unwrap();
    let text =
        recorder.wait_for_topics(Duration::from_secs(1), &["/tasks/exit"]).await.unwrap_err().to_string();
    assert_eq!(text, "not seen within 1s; what came: nothing");
}

#[tokio::test]
async fn a_shim_knows_one_version_of_the_service() {
    let shim = FakeShim::new(Script::new().serves(2));
    let newer = Client::over(shim.connect(), Protocol::TtrpcV3).await;
    let refused = newer.connect(ID).await;
    assert_eq!(refused, Err(Failed::Status(12, "service containerd.task.v3.Task".into())));
    let older = Client::over(shim.connect(), Protocol::TtrpcV2).await;
    assert!(older.connect(ID).await.is_ok());
}
