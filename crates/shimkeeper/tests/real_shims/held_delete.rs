// SPDX-License-Identifier: Apache-2.0
//! Killed shims whose `delete` action does not end before the case lets it: how their tasks ended is public by then.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Kind, Status, Task};
use shimkeeper_testkit::deps;

use crate::dead_shim::{assert_killed, cleared, kill_shim};
use crate::host::{Host, SOON, finish, task_key, within};

matrix! {
    real_an_exit_is_told_before_the_delete_action_ends,
    real_the_exits_of_a_group_are_told_before_its_delete_actions_end,
    real_who_shares_a_pid_namespace_has_an_end_of_his_own,
}

/// A shim of the cell's generation whose `delete` action leaves a mark, and then waits for a word.
struct Held {
    dir: PathBuf,
}

impl Held {
    fn new(host: &Host) -> Self {
        let dir = host.dirs.path().join("held");
        fs::create_dir(&dir).unwrap();
        mknodat(CWD, dir.join("word"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (at, shim) = (dir.display(), deps::shim(host.cell.generation));
        // Its name says that it is runc's, and so do its options.
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\nif [ \"$last\" = delete ] && [ -p {at}/word ]; then\n\
             : > {at}/begun.$$\ncat {at}/word 2> /dev/null\nfi\nexec {} \"$@\"\n",
            shim.display()
        );
        fs::write(dir.join("containerd-shim-runc-v2"), script).unwrap();
        fs::set_permissions(dir.join("containerd-shim-runc-v2"), Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    /// A task that runs on it.
    async fn start(&self, host: &Host, id: &str, spec: Vec<u8>) -> Task {
        let runtime = self.dir.join("containerd-shim-runc-v2");
        let request = host.request(task_key(id), spec).runtime(runtime.to_str().unwrap());
        let task = host.try_create(request).await.unwrap();
        task.start().await.unwrap();
        task
    }

    /// Waits until so many of its actions have begun, none of which can end.
    async fn has_begun(&self, actions: usize) {
        let begun = || {
            let names = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_str().unwrap().starts_with("begun")).count()
        };
        within(SOON, async {
            while begun() < actions {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// From now on it waits for nobody.
    fn let_go(self) {
        // Whoever has it open for reading sees its end; for both, so that nobody has to.
        let word = OpenOptions::new().read(true).write(true).open(self.dir.join("word")).unwrap();
        fs::remove_file(self.dir.join("word")).unwrap();
        drop(word);
    }
}

fn sleeper(host: &Host, id: &str) -> ContainerSpec {
    host.spec(&task_key(id), ["sleep", "3600"])
}

/// In the PID namespace of another task.
fn guest(host: &Host, id: &str, other: &Task) -> Vec<u8> {
    let mut spec: serde_json::Value = serde_json::from_slice(&sleeper(host, id).to_json().unwrap()).unwrap();
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    let pid = namespaces.iter_mut().find(|namespace| namespace["type"] == "pid").unwrap();
    pid["path"] = format!("/proc/{}/ns/pid", other.pid().unwrap()).into();
    spec.to_string().into_bytes()
}

/// Fails unless the end of the task was told, and its deletion was not: nobody has let that happen.
async fn is_told(host: &Host, task: &Task) {
    assert_killed(within(SOON, task.wait()).await.unwrap());
    host.story.wait_for(task.key(), "exit 137").await;
    assert_eq!(host.story.of(task.key()), ["create", "start", "exit 137"]);
    assert_eq!(task.state().await.unwrap().status, Status::Stopped);
    let taken = host.manager.get(task.key());
    assert!(taken.is_ok(), "its id is taken until it is cleared up: {taken:?}");
}

async fn real_an_exit_is_told_before_the_delete_action_ends(host: &Host) {
    let held = Held::new(host);
    let task = held.start(host, "held", sleeper(host, "held").to_json().unwrap()).await;
    kill_shim(&task);
    is_told(host, &task).await;
    held.has_begun(1).await;
    is_told(host, &task).await;
    held.let_go();
    assert_killed(cleared(host, &task).await);
}

async fn real_the_exits_of_a_group_are_told_before_its_delete_actions_end(host: &Host) {
    let held = Held::new(host);
    let member = |id| sleeper(host, id).annotation("io.kubernetes.cri.sandbox-id", "pod").to_json().unwrap();
    let tasks = [held.start(host, "one", member("one")).await, held.start(host, "two", member("two")).await];
    assert_eq!(tasks[0].shim_pid(), tasks[1].shim_pid());
    kill_shim(&tasks[0]);
    for task in &tasks {
        is_told(host, task).await;
    }
    held.has_begun(tasks.len()).await;
    for task in &tasks {
        is_told(host, task).await;
    }
    held.let_go();
    for task in &tasks {
        within(SOON, host.manager.freed(task.key())).await;
        host.story.wait_for(task.key(), "delete").await;
        assert_eq!(host.manager.get(task.key()).unwrap_err().kind(), Kind::NotFound);
    }
}

async fn real_who_shares_a_pid_namespace_has_an_end_of_his_own(host: &Host) {
    let held = Held::new(host);
    let owner = held.start(host, "owner", sleeper(host, "owner").to_json().unwrap()).await;
    let one = held.start(host, "one", guest(host, "one", &owner)).await;
    kill_shim(&one);
    is_told(host, &one).await;
    held.has_begun(1).await;
    assert_eq!(owner.state().await.unwrap().status, Status::Running, "the guest is gone, and no more");
    // The init of a namespace takes with it whoever is in it.
    let two = host.try_create(host.request(task_key("two"), guest(host, "two", &owner))).await.unwrap();
    two.start().await.unwrap();
    kill_shim(&owner);
    is_told(host, &owner).await;
    assert_eq!(finish(&two).await.status, 137);
    held.let_go();
    for task in [&one, &owner] {
        assert_killed(cleared(host, task).await);
    }
}
