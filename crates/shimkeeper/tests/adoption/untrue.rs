// SPDX-License-Identifier: Apache-2.0
//! Bundles that say what is not so, or not so any more: of addresses, of processes, of another boot.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::SystemTime;

use rustix::process::Signal;
use shimkeeper::{CreateTask, Deadlines, Kind, Manager, Task, Verdict};
use shimkeeper_testkit::{DeleteAct, Script, TestDirs, TestSpec, stop_process};

use super::keeper::{config, create, key};
use super::{Duration, exits, gone, nothing_left, reopen, signal, within};

/// A process that has nothing to do with any of this.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn is_untouched(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn running(manager: &Manager, id: &str) -> (Task, u32) {
    let task = create(manager, id, ["sleep"]).await;
    let pid = task.start().await.unwrap();
    (task, pid)
}

/// Kills the shim and the init of a task, as a reboot does.
async fn kill_both(shim: u32, init: u32) {
    for pid in [shim, init] {
        signal(pid, Signal::KILL);
        gone(pid).await;
    }
}

async fn cleared(manager: &Manager, id: &str) {
    within("the clearing up", manager.freed(&key(id))).await;
}

/// Changes a value of a task's record.
fn rewrite(bundle: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let file = bundle.join("shimkeeper.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut record = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    change(&mut record);
    fs::write(&file, format!("{record}\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_else_answers_is_not_believed() {
    for recorded in [true, false] {
        let dirs = TestDirs::new();
        let manager = Manager::open(config(&dirs)).await.unwrap();
        let ((one, one_pid), (two, two_pid)) =
            (running(&manager, "one").await, running(&manager, "two").await);
        let address = one.bundle().join("bootstrap.json");
        let own = fs::read(&address).unwrap();
        manager.detach().await;
        fs::copy(two.bundle().join("bootstrap.json"), &address).unwrap();
        if !recorded {
            fs::remove_file(one.bundle().join("shimkeeper.json")).unwrap();
        }
        let (manager, _events) = reopen(&dirs).await;
        for (id, pid) in [("one", one_pid), ("two", two_pid)] {
            assert_eq!(manager.adoption().verdict(&key(id)), Some(&Verdict::Adopted), "{id}, {recorded}");
            assert_eq!(manager.get(&key(id)).unwrap().pid(), Some(pid));
        }
        assert_eq!(fs::read(&address).unwrap(), own, "the next manager is told the right one");
        for id in ["one", "two"] {
            let task = manager.get(&key(id)).unwrap();
            task.kill(9, true).await.unwrap();
            within("the exit", task.wait()).await.unwrap();
            within("the deletion", task.delete()).await.unwrap();
        }
        nothing_left(manager, &dirs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_shim_whose_process_nobody_named_is_kept() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let (task, pid) = running(&manager, "first").await;
    let (shim, bundle) = (task.shim_pid().unwrap(), task.bundle());
    manager.detach().await;
    // As the second of a group looks like: its shim was started for the first.
    let member = bundle.with_file_name("member");
    fs::create_dir(&member).unwrap();
    fs::copy(bundle.join("bootstrap.json"), member.join("bootstrap.json")).unwrap();
    stop_process(shim);
    let mut deadlines = Deadlines::default();
    deadlines.state = Duration::from_millis(200);
    for _ in 0..2 {
        let manager = Manager::open(config(&dirs).deadlines(deadlines.clone())).await.unwrap();
        within("adoption", manager.adopted()).await;
        let task = manager.get(&key("member")).unwrap();
        let refused = task.state().await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
        // For some tries more.
        let freed = tokio::time::timeout(Duration::from_secs(1), manager.freed(&key("member"))).await;
        assert!(freed.is_err(), "no proof of death is to be had");
        manager.detach().await;
    }
    signal(shim, Signal::CONT);
    let (manager, _events) = reopen(&dirs).await;
    let verdict = manager.adoption().verdict(&key("member")).cloned();
    assert!(
        matches!(&verdict, Some(Verdict::Unreachable { reason }) if reason.contains("does not know")),
        "{verdict:?}"
    );
    assert_eq!(manager.get(&key("first")).unwrap().pid(), Some(pid));
    kill_both(shim, pid).await;
    cleared(&manager, "first").await;
    cleared(&manager, "member").await;
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_pid_of_the_init_now_is_not_touched() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let (task, pid) = running(&manager, "a").await;
    let (shim, bundle) = (task.shim_pid().unwrap(), task.bundle());
    manager.detach().await;
    kill_both(shim, pid).await;
    fs::remove_file(bundle.join("shimkeeper.json")).unwrap();
    let mut stranger = Stranger::new();
    fs::write(bundle.join("init.pid"), stranger.0.id().to_string()).unwrap();
    let long_ago = SystemTime::now() - Duration::from_hours(1);
    fs::File::options().write(true).open(bundle.join("init.pid")).unwrap().set_modified(long_ago).unwrap();

    let (manager, _events) = reopen(&dirs).await;
    assert_eq!(manager.adoption().verdict(&key("a")), Some(&Verdict::Dead));
    cleared(&manager, "a").await;
    assert!(stranger.is_untouched());
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_nothing_is_alive_and_nobody_is_touched() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    // What is there to delete is not what the shim's binary remembers.
    let script = Script::new().delete([DeleteAct::Exit(1)]);
    let spec = TestSpec::fake(["sleep"]).script(&script).to_bytes();
    let request = CreateTask::new(key("a"), spec).runtime("io.containerd.fake.v2");
    let task = manager.create(request).await.unwrap();
    let pid = task.start().await.unwrap();
    let (shim, bundle) = (task.shim_pid().unwrap(), task.bundle());
    manager.detach().await;
    kill_both(shim, pid).await;
    let mut stranger = Stranger::new();
    rewrite(&bundle, |record| {
        record["init"]["pid"] = stranger.0.id().into();
        for identity in ["init", "shim"] {
            record[identity]["boot_id"] = "00000000-0000-4000-8000-000000000000".into();
        }
        record["boot_id"] = "00000000-0000-4000-8000-000000000000".into();
    });

    let (manager, mut events) = reopen(&dirs).await;
    assert_eq!(manager.adoption().verdict(&key("a")), Some(&Verdict::Dead));
    cleared(&manager, "a").await;
    assert_eq!(exits(&mut events).len(), 1, "its end is announced");
    assert!(stranger.is_untouched());
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_is_killed_is_repeated() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let (_, pid) = running(&manager, "a").await;
    manager.detach().await;
    for _ in 0..5 {
        // Left at whatever point it has come to.
        Manager::open(config(&dirs)).await.unwrap().detach().await;
    }
    super::it_is_back(&dirs, pid).await;
}
