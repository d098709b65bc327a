// SPDX-License-Identifier: Apache-2.0
//! Shims that are killed: their tasks end in truth and in order, and nothing of them is left.

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper::{Exit, Kind, Mount, Provenance, Stdio, Task};
use shimkeeper_testkit::{Standstill, TestSpec, deps};

use crate::host::{Host, SOON, exec, finish, kill_and_finish, task_key, within};
use crate::output::read;

matrix! {
    real_a_task_ends_with_its_killed_shim,
    real_a_standstill_elsewhere_delays_no_clearing_up,
    real_execs_end_with_a_killed_shim,
    real_a_known_status_outlives_the_shim,
    real_a_shim_is_killed_before_the_start,
    real_a_mounted_root_goes_with_the_task,
}

pub(crate) fn kill_shim(task: &Task) {
    let pid = Pid::from_raw(task.shim_pid().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Waits until a task is cleared up, which nobody has to ask for; answers how it ended.
pub(crate) async fn cleared(host: &Host, task: &Task) -> Exit {
    host.story.wait_for(task.key(), "delete").await;
    // It asks nobody any more, but waits for the end of the clearing up.
    let exit = within(SOON, task.delete()).await.unwrap();
    host.assert_gone(task);
    assert!(host.socket_of(task).is_none_or(|socket| !socket.exists()));
    exit
}

pub(crate) fn assert_killed(exit: Exit) {
    assert_eq!(exit.status, 137);
    assert!(matches!(exit.provenance, Provenance::Recovered | Provenance::Inferred), "{exit:?}");
}

async fn real_a_task_ends_with_its_killed_shim(host: &Host) {
    let task = host.create("orphan", ["sleep", "3600"], Stdio::Piped { stdin: false }).await;
    let pid = task.start().await.unwrap();
    let io = task.take_io().unwrap();
    kill_shim(&task);
    let exit = within(SOON, task.wait()).await.unwrap();
    assert_killed(exit);
    assert_eq!(exit.pid, pid);
    assert!(read(io.stdout.unwrap()).await.is_empty(), "its output ends");
    assert_eq!(cleared(host, &task).await, exit, "a delete that comes late tells the same");
    assert_eq!(host.story.of(task.key()), ["create", "start", "exit 137", "delete"]);

    let again = host.sleeper("orphan").await;
    kill_and_finish(&again).await;
}

/// Nobody looks into the memory of others to clear up after a shim that is known.
async fn real_a_standstill_elsewhere_delays_no_clearing_up(host: &Host) {
    let elsewhere = tempfile::tempdir().unwrap();
    let still = Standstill::new(("A", "b"), elsewhere.path()).unwrap();
    let task = host.sleeper("orphan").await;
    kill_shim(&task);
    assert_killed(within(SOON, task.wait()).await.unwrap());
    within(SOON, task.delete()).await.unwrap();
    assert!(!task.bundle().exists());
    // Whoever asks what was left looks at all processes.
    drop(still);
    cleared(host, &task).await;
}

async fn real_execs_end_with_a_killed_shim(host: &Host) {
    let task = host.sleeper("orphan").await;
    let process = exec(&task, "e", ["sleep", "3600"], Stdio::Null).await;
    kill_shim(&task);
    assert_killed(within(SOON, process.wait()).await.unwrap());
    assert_killed(within(SOON, task.wait()).await.unwrap());
    cleared(host, &task).await;
    let life = ["create", "start", "exec-added e", "exec-started e", "exit e 137", "exit 137", "delete"];
    assert_eq!(host.story.of(task.key()), life);
}

async fn real_a_known_status_outlives_the_shim(host: &Host) {
    let task = host.shell("stopped", "exit 7", Stdio::Null).await;
    let exit = within(SOON, task.wait()).await.unwrap();
    assert_eq!((exit.status, exit.provenance), (7, Provenance::Observed));
    kill_shim(&task);
    assert_eq!(within(SOON, task.delete()).await.unwrap(), exit);
    cleared(host, &task).await;
    assert_eq!(host.story.of(task.key()), ["create", "start", "exit 7", "delete"]);
}

async fn real_a_shim_is_killed_before_the_start(host: &Host) {
    let task = host.create("unborn", ["sleep", "3600"], Stdio::Null).await;
    kill_shim(&task);
    let error = within(SOON, task.start()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Unavailable | Kind::NotFound), "{error}");
    cleared(host, &task).await;
    assert_eq!(host.story.of(task.key()), ["create", "exit 137", "delete"], "its init was there");

    let again = host.sleeper("unborn").await;
    kill_and_finish(&again).await;
}

async fn real_a_mounted_root_goes_with_the_task(host: &Host) {
    for is_killed in [false, true] {
        let key = task_key("mounted");
        let cgroup = format!("{}/mounted", host.cgroup());
        let spec =
            TestSpec::new("rootfs", "mounted").cgroup(&cgroup).args(["/bin/sh", "-c", "exec sleep 60"]);
        let mount = Mount {
            kind: "bind".into(),
            source: deps::rootfs().to_str().unwrap().into(),
            options: vec!["rbind".into(), "ro".into()],
            ..Mount::default()
        };
        let request = host.request(key, spec.to_bytes()).rootfs(vec![mount]);
        let task = host.try_create(request).await.unwrap();
        task.start().await.unwrap();
        if is_killed {
            kill_shim(&task);
            assert_killed(within(SOON, task.wait()).await.unwrap());
            cleared(host, &task).await;
        } else {
            task.kill(9, false).await.unwrap();
            finish(&task).await;
        }
        assert!(deps::rootfs().join("bin/busybox").exists(), "the source is untouched");
    }
}
