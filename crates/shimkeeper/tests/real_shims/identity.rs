// SPDX-License-Identifier: Apache-2.0
//! Whose an id is: the same id in two namespaces, in two lives, and wanted by many at once.

use shimkeeper::{Kind, Status, Stdio, TaskKey};
use tokio_util::task::TaskTracker;

use crate::host::{Host, KILL, SOON, add_exec, finish, kill_and_finish, task_key, within};

matrix! {
    real_a_shim_works_in_its_bundle,
    real_an_id_is_of_its_namespace,
    real_an_old_handle_does_not_touch_the_new_task,
    real_one_of_many_gets_the_id,
}

/// By that it is known without a look into its memory, which may not be to be read.
async fn real_a_shim_works_in_its_bundle(host: &Host) {
    let task = host.sleeper("here").await;
    let shim = task.shim_pid().unwrap();
    assert_eq!(std::fs::read_link(format!("/proc/{shim}/cwd")).unwrap(), task.bundle());
    kill_and_finish(&task).await;
}

async fn real_an_id_is_of_its_namespace(host: &Host) {
    let mut tasks = Vec::new();
    for namespace in ["one", "two"] {
        let key = TaskKey::parse(namespace, "same").unwrap();
        let spec = host.spec(&key, ["sleep", "3600"]).to_json().unwrap();
        let task = host.try_create(host.request(key, spec)).await.unwrap();
        task.start().await.unwrap();
        tasks.push(task);
    }
    assert_ne!(tasks[0].shim_pid(), tasks[1].shim_pid());
    assert_ne!(host.socket_of(&tasks[0]), host.socket_of(&tasks[1]));
    kill_and_finish(&tasks[0]).await;
    assert_eq!(tasks[1].state().await.unwrap().status, Status::Running);
    kill_and_finish(&tasks[1]).await;
}

async fn real_an_old_handle_does_not_touch_the_new_task(host: &Host) {
    let old = host.sleeper("reborn").await;
    let exit = kill_and_finish(&old).await;
    let new = host.sleeper("reborn").await;
    assert_ne!(old.incarnation(), new.incarnation());

    assert_eq!(old.kill(KILL, true).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(add_exec(&old, "e", ["true"], Stdio::Null).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(old.state().await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(old.pause().await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(old.wait().await.unwrap(), exit, "it answers for its own life");
    assert_eq!(old.delete().await.unwrap(), exit);

    assert_eq!(new.state().await.unwrap().status, Status::Running);
    assert_eq!(host.manager.get(new.key()).unwrap().incarnation(), new.incarnation());
    kill_and_finish(&new).await;
}

async fn real_one_of_many_gets_the_id(host: &Host) {
    let key = task_key("wanted");
    let spec = host.spec(&key, ["/bin/true"]).to_json().unwrap();
    let creates = TaskTracker::new();
    let running: Vec<_> = (0..20)
        .map(|_| {
            let (manager, request) = (host.manager.clone(), host.request(key.clone(), spec.clone()));
            creates.spawn(async move { manager.create(request).await })
        })
        .collect();
    let mut made = Vec::new();
    for create in running {
        match within(SOON, create).await.unwrap() {
            Ok(task) => made.push(task),
            Err(error) => assert_eq!(error.kind(), Kind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(made.len(), 1);
    made[0].start().await.unwrap();
    finish(&made[0]).await;
}
