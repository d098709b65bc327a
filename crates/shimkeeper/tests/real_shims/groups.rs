// SPDX-License-Identifier: Apache-2.0
//! Tasks that share a shim by their specs' annotations, and the sandbox service of the generation that has it.

use std::time::Duration;

use shimkeeper::{CreateSandbox, Kind, SandboxKey, Status, Task};
use shimkeeper_testkit::TestSpec;
use shimkeeper_testkit::deps::Generation;

use crate::host::{Host, KILL, SOON, finish, kill_and_finish, task_key, within};

matrix! {
    real_a_group_has_one_shim_until_its_last_task_leaves,
    real_the_death_of_a_groups_shim_is_one_end_for_each,
    real_a_sandbox_is_kept_where_the_shim_has_the_service,
}

/// A task that runs, in the group of all tasks of its case.
async fn member(host: &Host, id: &str) -> Task {
    let key = task_key(id);
    let spec = host.spec(&key, ["sleep", "3600"]).annotation("io.kubernetes.cri.sandbox-id", "pod");
    let task = host.try_create(host.request(key, spec.to_json().unwrap())).await.unwrap();
    task.start().await.unwrap();
    task
}

async fn is_running(task: &Task) -> bool {
    task.state().await.is_ok_and(|state| state.status == Status::Running)
}

async fn real_a_group_has_one_shim_until_its_last_task_leaves(host: &Host) {
    let one = member(host, "one").await;
    let two = member(host, "two").await;
    let three = member(host, "three").await;
    assert_eq!((one.shim_pid(), three.shim_pid()), (two.shim_pid(), two.shim_pid()));
    assert_eq!(host.socket_of(&one), host.socket_of(&two));
    kill_and_finish(&one).await;
    assert!(is_running(&two).await && is_running(&three).await);
    let again = member(host, "one").await;
    assert_eq!(again.shim_pid(), two.shim_pid(), "an id is used again under the same shim");
    for task in [&three, &again, &two] {
        kill_and_finish(task).await;
    }
}

async fn real_the_death_of_a_groups_shim_is_one_end_for_each(host: &Host) {
    let tasks = [member(host, "one").await, member(host, "two").await];
    let shim = tasks[0].shim_pid().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(shim).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for task in &tasks {
        assert_eq!(within(SOON, task.wait()).await.unwrap().status, 137);
        within(SOON, host.manager.freed(task.key())).await;
        host.story.wait_for(task.key(), "delete").await;
        assert_eq!(host.story.of(task.key()), ["create", "start", "exit 137", "delete"]);
    }
}

async fn real_a_sandbox_is_kept_where_the_shim_has_the_service(host: &Host) {
    let key = SandboxKey::parse("real", "pod").unwrap();
    let spec = TestSpec::new("rootfs", "pod").to_bytes();
    let request = CreateSandbox::new(key.clone(), "io.containerd.runc.v2").spec(spec);
    let made = host.manager.create_sandbox(request).await;
    if host.cell.generation != Generation::V1_7 {
        // Such a shim has no sandboxes, and nothing is left of the try.
        assert_eq!(made.unwrap_err().kind(), Kind::NotImplemented);
        return;
    }
    let sandbox = made.unwrap();
    sandbox.start().await.unwrap();
    sandbox.ping().await.unwrap();
    assert_eq!(sandbox.platform().await.unwrap().os, "linux");
    let task = member(host, "one").await;
    assert_eq!(task.shim_pid(), sandbox.shim_pid());
    assert_eq!(sandbox.shutdown().await.unwrap_err().kind(), Kind::FailedPrecondition);
    assert!(is_running(&task).await);
    assert_eq!(sandbox.exit(), None, "its Wait says nothing, and that is not an end");
    task.kill(KILL, false).await.unwrap();
    finish(&task).await;
    sandbox.stop(Duration::from_secs(5)).await.unwrap();
    let exit = within(SOON, sandbox.wait()).await.unwrap();
    assert_eq!(within(SOON, sandbox.shutdown()).await.unwrap(), exit);
    assert_eq!(host.manager.sandbox(&key).unwrap_err().kind(), Kind::NotFound);
}
