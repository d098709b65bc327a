// SPDX-License-Identifier: Apache-2.0
//! Shims that are stopped while their containers run: what they cannot do is done past them, and what they cannot tell
//! is the kernel's to tell.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper::{CreateTask, Exit, HealthState, Provenance, RuncOptions, Status, Stdio, Task};
use shimkeeper_testkit::{TestSpec, deps, stop_process};

use crate::cell::OciRuntime;
use crate::host::{Host, KILL, SOON, exec, finish, kill_and_finish, task_key, within};

matrix! {
    real_kill_9_passes_a_stopped_shim,
    real_kill_9_passes_a_stopped_shim_with_an_exec,
    real_kill_9_passes_a_stopped_shim_of_a_paused_task,
    real_an_exit_is_told_while_the_shim_is_stopped,
    real_a_shim_that_goes_on_is_believed_again,
    real_memory_that_ran_out_is_told,
    real_what_outlives_its_container_is_killed,
}

/// Less than a shim on a busy machine would need to be called silent by itself.
const BRIEFLY: Duration = Duration::from_millis(300);

fn signal_shim(task: &Task, signal: Signal) {
    let pid = Pid::from_raw(task.shim_pid().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Stops the shim, and waits until it is seen not to answer.
async fn silence_shim(task: &Task) {
    stop_process(task.shim_pid().unwrap());
    let falling_silent = async { while task.within(BRIEFLY).state().await.is_ok() {} };
    within(SOON, falling_silent).await;
}

/// The same, and waits until it is known to be stuck.
async fn stop_shim(task: &Task) {
    silence_shim(task).await;
    health(task, HealthState::Stuck).await;
}

async fn health(task: &Task, wanted: HealthState) {
    let becoming = async {
        while task.health().state != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(SOON, becoming).await;
}

fn told(exit: Exit, pid: Option<u32>, status: u32) {
    assert_eq!(
        (Some(exit.pid), exit.status, exit.provenance),
        (pid, status, Provenance::Recovered),
        "{exit:?}"
    );
}

async fn real_kill_9_passes_a_stopped_shim(host: &Host) {
    let task = host.shell("stuck", "sleep 3600 & sleep 3600", Stdio::Null).await;
    stop_shim(&task).await;
    within(BRIEFLY * 10, task.kill(KILL, true)).await.unwrap();
    told(within(SOON, task.wait()).await.unwrap(), task.pid(), 137);
    // Stopped as it is, the shim is ended and the container cleared up.
    told(within(SOON * 2, task.delete()).await.unwrap(), task.pid(), 137);
    host.assert_gone(&task);
}

async fn real_kill_9_passes_a_stopped_shim_with_an_exec(host: &Host) {
    let task = host.sleeper("stuck").await;
    let process = exec(&task, "other", ["sleep", "3600"], Stdio::Null).await;
    stop_shim(&task).await;
    within(BRIEFLY * 10, task.kill(KILL, true)).await.unwrap();
    told(within(SOON, process.wait()).await.unwrap(), process.pid(), 137);
    // The kernel lets the init die only once the exec has been waited for, which takes the end of its stopped shim.
    let (waited, deleted) = within(SOON * 2, async { tokio::join!(task.wait(), task.delete()) }).await;
    told(deleted.unwrap(), task.pid(), 137);
    told(waited.unwrap(), task.pid(), 137);
    host.assert_gone(&task);
    let life =
        ["create", "start", "exec-added other", "exec-started other", "exit other 137", "exit 137", "delete"];
    assert_eq!(host.story.of(task.key()), life);
}

async fn real_kill_9_passes_a_stopped_shim_of_a_paused_task(host: &Host) {
    let task = host.sleeper("stuck").await;
    task.pause().await.unwrap();
    stop_shim(&task).await;
    within(BRIEFLY * 10, task.kill(KILL, false)).await.unwrap();
    told(within(SOON, task.wait()).await.unwrap(), task.pid(), 137);
    within(SOON * 2, task.delete()).await.unwrap();
    host.assert_gone(&task);
}

async fn real_an_exit_is_told_while_the_shim_is_stopped(host: &Host) {
    let task = host.shell("stuck", "sleep 1; exit 7", Stdio::Null).await;
    silence_shim(&task).await;
    let exit = within(SOON, task.wait()).await.unwrap();
    told(exit, task.pid(), 7);
    host.story.wait_for(task.key(), "exit 7").await;
    assert_eq!(host.story.of(task.key()), ["create", "start", "exit 7"]);
    signal_shim(&task, Signal::CONT);
    health(&task, HealthState::Healthy).await;
    assert_eq!(finish(&task).await, exit, "what the shim says of it too is nothing new");
    assert_eq!(host.story.of(task.key()), ["create", "start", "exit 7", "delete"]);
}

async fn real_a_shim_that_goes_on_is_believed_again(host: &Host) {
    let task = host.sleeper("stuck").await;
    let other = host.sleeper("other").await;
    stop_shim(&task).await;
    assert_eq!(other.state().await.unwrap().status, Status::Running);
    assert_eq!(other.health().state, HealthState::Healthy);
    signal_shim(&task, Signal::CONT);
    health(&task, HealthState::Healthy).await;
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    kill_and_finish(&task).await;
    kill_and_finish(&other).await;
}

async fn real_memory_that_ran_out_is_told(host: &Host) {
    let key = task_key("greedy");
    let spec = host.spec(&key, ["dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"]);
    let request = host.request(key, spec.memory_bytes(48 << 20).to_json().unwrap());
    let task = host.try_create(request).await.unwrap();
    task.start().await.unwrap();
    let exit = within(SOON, task.wait()).await.unwrap();
    let record = task.exit().unwrap();
    assert_eq!((record.exit, exit.status), (exit, 137));
    assert!(record.is_out_of_memory(), "{record:?}");
    finish(&task).await;
    assert_eq!(task.exit().unwrap(), record, "it is known after the task's end");

    let modest = host.shell("modest", "exit 3", Stdio::Null).await;
    finish(&modest).await;
    assert_eq!(modest.exit().unwrap().oom_kills, Some(0));
}

/// An OCI runtime that says that it has deleted, and has not.
fn lying_runtime(host: &Host) -> (PathBuf, PathBuf) {
    let runtime = match host.cell.runtime {
        OciRuntime::Runc => "runc".into(),
        // What is made for it on this machine.
        OciRuntime::Crun => {
            host.cell.runtime.options(host.dirs.path());
            host.dirs.path().join("crun")
        }
    };
    let lying = host.dirs.path().join("lying");
    let script = format!(
        "#!/bin/sh\nfor word; do [ \"$word\" = delete ] && exit 0; done\nexec {} \"$@\"\n",
        runtime.display()
    );
    fs::write(&lying, script).unwrap();
    fs::set_permissions(&lying, fs::Permissions::from_mode(0o755)).unwrap();
    (lying, runtime)
}

async fn real_what_outlives_its_container_is_killed(host: &Host) {
    let (lying, runtime) = lying_runtime(host);
    let key = task_key("liar");
    // In the PID namespace of the host nothing ends with the init.
    let spec = TestSpec::new(deps::rootfs(), "liar")
        .cgroup(&format!("{}/liar", host.cgroup()))
        .args(["/bin/sh", "-c", "sleep 3600 & exec sleep 3600"])
        .with(|spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "pid");
        });
    let options = RuncOptions::binary(lying.to_str().unwrap());
    let request = CreateTask::new(key.clone(), spec.to_bytes()).runc(options);
    let task = host.try_create(request).await.unwrap();
    let init = task.start().await.unwrap();
    let group = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
    signal_shim(&task, Signal::KILL);
    let exit = within(SOON, task.wait()).await.unwrap();
    assert_eq!((exit.pid, exit.status), (init, 137), "{exit:?}");
    host.story.wait_for(&key, "delete").await;
    within(SOON, task.delete()).await.unwrap();
    host.assert_gone(&task);
    // A dead process stays in its group until it has been waited for.
    let is_in_it =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text == group);
    let is_any = || {
        let pids = fs::read_dir("/proc").unwrap();
        pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).any(is_in_it)
    };
    let emptying = async {
        while is_any() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(SOON, emptying).await;

    // What the runtime owes.
    let root = host.dirs.state().join("runc").join(key.namespace.as_str());
    let deleted = Command::new(runtime).arg("--root").arg(root).args(["delete", "--force", "liar"]).status();
    assert!(deleted.unwrap().success());
}
