// SPDX-License-Identifier: Apache-2.0
//! From create to delete: statuses, signals, waits, and what is refused on the way.

use shimkeeper::{Kind, ProcessKey, Provenance, Status, Stdio, events::TaskEvent};
use shimkeeper_testkit::{TestSpec, deps};
use tokio_util::task::TaskTracker;

use crate::host::{Host, KILL, SOON, TERM, finish, kill_and_finish, task_key, within};

matrix! {
    real_true_is_created_started_and_deleted,
    real_a_status_is_told_as_it_is,
    real_a_signal_is_told_as_it_is,
    real_waits_begin_at_any_time,
    real_a_running_task_is_not_deleted,
    real_a_task_is_started_once,
    real_a_task_that_was_never_started_is_deleted,
    real_a_short_run_has_its_pid,
    real_a_hundred_at_once,
}

async fn real_true_is_created_started_and_deleted(host: &Host) {
    let task = host.create("true", ["/bin/true"], Stdio::Null).await;
    host.assert_is_of_this_cell(&task);
    let state = task.state().await.unwrap();
    assert_eq!((state.status, Some(state.pid), state.exit), (Status::Created, task.pid(), None));
    assert_eq!(Some(task.start().await.unwrap()), task.pid());
    let exit = within(SOON, task.wait()).await.unwrap();
    assert_eq!((exit.status, exit.provenance), (0, Provenance::Observed));
    assert_eq!(Some(exit.pid), task.pid());
    let state = task.state().await.unwrap();
    assert_eq!((state.status, state.exit), (Status::Stopped, Some(exit)));
    assert_eq!(task.delete().await.unwrap(), exit);

    host.assert_gone(&task);
    assert_eq!(task.delete().await.unwrap(), exit, "a second delete tells the same");
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(task.wait().await.unwrap(), exit);
}

async fn real_a_status_is_told_as_it_is(host: &Host) {
    for status in [7, 255] {
        let task = host.shell("exits", &format!("exit {status}"), Stdio::Null).await;
        let exit = finish(&task).await;
        assert_eq!((exit.status, exit.provenance), (status, Provenance::Observed));
    }
}

async fn real_a_signal_is_told_as_it_is(host: &Host) {
    let task = host.sleeper("killed").await;
    kill_and_finish(&task).await;

    // The init of a pid namespace is deaf to every other signal it has no handler for; so this one is in the host's.
    let key = task_key("terminated");
    let own_pids = |namespace: &serde_json::Value| namespace["type"] == "pid";
    let spec = TestSpec::new(deps::rootfs(), "terminated").cgroup(&format!("{}/host", host.cgroup()));
    let spec = spec.with(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| !own_pids(namespace));
    });
    let task = host.try_create(host.request(key, spec.to_bytes())).await.unwrap();
    task.start().await.unwrap();
    task.kill(TERM, false).await.unwrap();
    assert_eq!(finish(&task).await.status, 128 + TERM);
}

async fn real_waits_begin_at_any_time(host: &Host) {
    let task = host.create("waited", ["/bin/sh", "-c", "exit 3"], Stdio::Null).await;
    let waits = TaskTracker::new();
    let waiting = [0, 1].map(|_| {
        let task = task.clone();
        waits.spawn(async move { task.wait().await.unwrap() })
    });
    task.start().await.unwrap();
    let late = within(SOON, task.wait()).await.unwrap();
    for early in waiting {
        assert_eq!(within(SOON, early).await.unwrap(), late);
    }
    let after = within(SOON, task.wait()).await.unwrap();
    assert_eq!((after, after.status), (late, 3));
    let error = task.kill(KILL, false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    finish(&task).await;
}

async fn real_a_running_task_is_not_deleted(host: &Host) {
    let task = host.sleeper("running").await;
    let error = task.delete().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    assert!(error.hint().unwrap().contains("kill it"), "{error}");
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    assert_eq!(host.story.of(task.key()), ["create", "start"]);
    kill_and_finish(&task).await;
}

async fn real_a_task_is_started_once(host: &Host) {
    let task = host.sleeper("once").await;
    let error = task.start().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    kill_and_finish(&task).await;
}

async fn real_a_task_that_was_never_started_is_deleted(host: &Host) {
    for _ in 0..2 {
        let task = host.create("unborn", ["sleep", "3600"], Stdio::Null).await;
        let init = task.pid().unwrap();
        let deleted = within(SOON, task.delete()).await.unwrap();
        host.assert_gone(&task);
        assert_eq!(within(SOON, task.wait()).await.unwrap(), deleted);
        assert_eq!(deleted.status, 137, "the runtime kills it: {deleted:?}");
        assert!(!std::path::Path::new(&format!("/proc/{init}")).exists(), "its init is gone too");
        host.story.wait_for(task.key(), "delete").await;
    }
}

async fn real_a_short_run_has_its_pid(host: &Host) {
    let task = host.create("short", ["/bin/true"], Stdio::Null).await;
    let pid = task.start().await.unwrap();
    assert_ne!(pid, 0);
    assert_eq!(finish(&task).await.pid, pid);
    let told = host.story.events_of(task.key()).into_iter().filter_map(|event| match event {
        TaskEvent::Create { pid, .. }
        | TaskEvent::Start { pid }
        | TaskEvent::Exit { process: ProcessKey::Init, pid, .. } => Some(pid),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [pid; 3]);
}

async fn real_a_hundred_at_once(host: &Host) {
    let lives = TaskTracker::new();
    let running: Vec<_> = (0..100)
        .map(|n| {
            let key = task_key(&format!("n{n}"));
            let spec = host.spec(&key, ["/bin/sh", "-c", &format!("exit {n}")]).to_json().unwrap();
            let (manager, request) = (host.manager.clone(), host.request(key, spec));
            lives.spawn(async move {
                let task = manager.create(request).await.unwrap();
                task.start().await.unwrap();
                let exit = task.wait().await.unwrap();
                assert_eq!(task.delete().await.unwrap(), exit);
                exit.status
            })
        })
        .collect();
    for (n, life) in (0..).zip(running) {
        assert_eq!(life.await.unwrap(), n);
    }
}
