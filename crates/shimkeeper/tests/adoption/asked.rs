// SPDX-License-Identifier: Apache-2.0
//! What a shim is asked when its task is found, and what is asked again.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shimkeeper::events::{Envelope, Topic};
use shimkeeper::{Any, CreateTask, Manager, Status};
use shimkeeper_testkit::{Act, Method, Received, Script, TestDirs, TestSpec, When};

use super::keeper::{config, key};
use super::{clear, within};

/// A running task whose shim notes down what it is asked, left alone; answers where.
async fn left_alone(dirs: &TestDirs, script: Script) -> PathBuf {
    let calls = dirs.path().join("calls");
    let script = Script { calls: Some(calls.clone()), ..script };
    let manager = Manager::open(config(dirs)).await.unwrap();
    let spec = TestSpec::fake(["sleep"]).script(&script).to_bytes();
    let request = CreateTask::new(key("a"), spec).runtime("io.containerd.fake.v2");
    manager.create(request).await.unwrap().start().await.unwrap();
    manager.detach().await;
    std::fs::remove_file(&calls).unwrap();
    calls
}

/// How often the shim was asked this since it was left alone.
fn times(calls: &Path, method: Method) -> usize {
    let Ok(calls) = Received::read_all(calls) else { return 0 };
    calls.iter().filter(|call| call.method == method).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_was_found_is_asked_for_its_state_once() {
    let dirs = TestDirs::new();
    let calls = left_alone(&dirs, Script::new()).await;
    let manager = Manager::open(config(&dirs)).await.unwrap();
    within("adoption", manager.adopted()).await;
    let task = manager.get(&key("a")).unwrap();
    for _ in 0..3 {
        assert_eq!(task.known_state().await.unwrap().status, Status::Running);
    }
    assert_eq!((times(&calls, Method::Connect), times(&calls, Method::State)), (1, 1));
    clear(manager, &dirs, &task).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_said_does_not_count_if_something_was_heard_before_it_was_believed() {
    let dirs = TestDirs::new();
    let go_on = dirs.path().join("go-on");
    let script = Script::new().on_nth(Method::Connect, 2, When::Before, Act::AwaitFile(go_on.clone()));
    let calls = left_alone(&dirs, script).await;
    let manager = Manager::open(config(&dirs)).await.unwrap();
    within("the question for its state", async {
        while times(&calls, Method::State) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let event = Any { type_url: "containerd.events.TaskPaused".into(), value: b"\x0a\x01a"[..].into() };
    let (namespace, at) = (key("a").namespace, SystemTime::now());
    manager.publish(Envelope::new(namespace, Topic::TASK_PAUSED, at, event).unwrap()).await;
    std::fs::write(&go_on, "").unwrap();
    within("adoption", manager.adopted()).await;
    assert_eq!(times(&calls, Method::State), 2);
    let task = manager.get(&key("a")).unwrap();
    clear(manager, &dirs, &task).await;
}
