// SPDX-License-Identifier: Apache-2.0
//! What is asked of a running task: its processes, its figures, its limits, a pause, a checkpoint.

use std::process::Command;
use std::time::Duration;

use shimkeeper::{Checkpoint, Resources, Status, Stdio, TaskPid};

use crate::cell::OciRuntime;
use crate::host::{Host, KILL, SOON, exec, finish, kill_and_finish, task_key, within};

matrix! {
    real_every_process_is_listed,
    real_a_paused_task_stands_still,
    real_limits_are_changed_and_figures_told,
    real_all_processes_are_killed,
    real_a_checkpoint_is_restored,
}

async fn real_every_process_is_listed(host: &Host) {
    let task = host.sleeper("listed").await;
    let process = exec(&task, "other", ["sleep", "3600"], Stdio::Null).await;
    let mut pids: Vec<_> = task.pids().await.unwrap().into_iter().map(by_pid).collect();
    pids.sort_unstable();
    let mut expected = vec![(task.pid(), None), (process.pid(), Some("other".to_owned()))];
    expected.sort_unstable();
    assert_eq!(pids, expected);
    process.kill(KILL).await.unwrap();
    within(SOON, process.wait()).await.unwrap();
    process.delete().await.unwrap();
    kill_and_finish(&task).await;
}

fn by_pid(process: TaskPid) -> (Option<u32>, Option<String>) {
    (Some(process.pid), process.exec)
}

async fn real_a_paused_task_stands_still(host: &Host) {
    let task = host.sleeper("paused").await;
    task.pause().await.unwrap();
    assert_eq!(task.state().await.unwrap().status, Status::Paused);
    host.story.wait_for(task.key(), "paused").await;
    task.resume().await.unwrap();
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    host.story.wait_for(task.key(), "resumed").await;
    kill_and_finish(&task).await;
}

async fn real_limits_are_changed_and_figures_told(host: &Host) {
    let task = host.sleeper("limited").await;
    task.update(&Resources::new().memory(48 << 20).pids(50)).await.unwrap();
    let stats = task.stats().await.unwrap();
    assert_eq!(stats.memory_limit_bytes, Some(48 << 20), "{stats:?}");
    // Not one for certain: until it has become the program, the runtime's own init has threads, and they count.
    assert!((Some(1)..=Some(50)).contains(&stats.pids), "{stats:?}");
    assert!(stats.memory_bytes > Some(0), "{stats:?}");
    assert!(stats.cpu_time > Some(Duration::ZERO), "{stats:?}");
    kill_and_finish(&task).await;
}

async fn real_all_processes_are_killed(host: &Host) {
    let task = host.shell("all", "sleep 3600 & sleep 3600", Stdio::Null).await;
    let process = exec(&task, "other", ["sleep", "3600"], Stdio::Null).await;
    task.kill(KILL, true).await.unwrap();
    assert_eq!(within(SOON, process.wait()).await.unwrap().status, 137);
    assert_eq!(finish(&task).await.status, 137);
}

async fn real_a_checkpoint_is_restored(host: &Host) {
    let task = host.sleeper("frozen").await;
    let image = host.dirs.path().join("image");
    let checkpoint = Checkpoint::into_directory(&image).and_exit(true);
    if let Some(why) = no_criu(host) {
        println!("skipped: no checkpoint with {:?} here, and so none restored: {why}", host.cell.runtime);
        // What remains to be seen is that a checkpoint which fails harms nobody.
        within(SOON, task.checkpoint(&checkpoint)).await.unwrap_err();
        assert_eq!(task.state().await.unwrap().status, Status::Running);
        kill_and_finish(&task).await;
        return;
    }
    task.checkpoint(&checkpoint).await.unwrap();
    host.story.wait_for(task.key(), "checkpointed").await;
    finish(&task).await;

    let key = task_key("thawed");
    let spec = host.spec(&key, ["sleep", "3600"]).to_json().unwrap();
    let request = host.request(key, spec).restore_from(image.to_str().unwrap());
    let task = host.try_create(request).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    kill_and_finish(&task).await;
}

/// Why there can be no checkpoint on this machine, if so: criu itself is asked.
fn no_criu(host: &Host) -> Option<String> {
    if host.cell.runtime != OciRuntime::Runc {
        return Some("distributions build it without criu".to_owned());
    }
    match Command::new("criu").arg("check").output() {
        Err(error) => Some(format!("criu: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
