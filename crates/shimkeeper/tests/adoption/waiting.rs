// SPDX-License-Identifier: Apache-2.0
//! What callers see of a task that there is no verdict on yet, and of a bundle that nothing can be made of.

use std::os::unix::net::UnixListener;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use shimkeeper::events::Filters;
use shimkeeper::{CreateTask, Deadlines, Kind, Manager, Status, Verdict};
use shimkeeper_testkit::{Act, Method, Script, TestDirs, TestSpec, When, stop_process};

use super::keeper::{config, create, key, running};
use super::{Duration, PATIENCE, clear, nothing_left, signal, within};

/// A manager that is patient with shims, so that only what is waited for here ends a wait.
async fn open_patiently(dirs: &TestDirs) -> Manager {
    let mut deadlines = Deadlines::default();
    (deadlines.state, deadlines.dial) = (PATIENCE * 3, PATIENCE * 3);
    within("opening", Manager::open(config(dirs).deadlines(deadlines))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_a_task_that_is_being_adopted_waits_as_long_as_it_may() {
    let dirs = TestDirs::new();
    let go_on = dirs.path().join("go-on");
    let manager = Manager::open(config(&dirs)).await.unwrap();
    // The first is asked for by the creation, the second by the adoption.
    let script = Script::new().on_nth(Method::Connect, 2, When::Before, Act::AwaitFile(go_on.clone()));
    let spec = TestSpec::fake(["sleep"]).script(&script).to_bytes();
    let request = CreateTask::new(key("a"), spec).runtime("io.containerd.fake.v2");
    let pid = manager.create(request).await.unwrap().start().await.unwrap();
    manager.detach().await;

    let manager = open_patiently(&dirs).await;
    let refused = manager.get(&key("a")).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("being adopted"), "{refused}");
    let short = tokio::time::timeout(Duration::from_millis(50), manager.find(&key("a"))).await;
    assert!(short.is_err(), "whoever has less time has it for other things");
    let missing = within("no task", manager.find(&key("b"))).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "there is nothing to wait for");
    let survey = manager.survey(Duration::ZERO).await;
    assert!(survey.tasks.is_empty() && manager.list().is_empty());
    assert_eq!((&survey.unknown[0].key, &survey.unknown[0].reason), (&key("a"), &None), "it is in sight");
    assert_eq!(manager.adoption().verdict(&key("a")), None);

    let of = key("a");
    let waiting = within("the task", manager.find(&of));
    let (found, written) = tokio::join!(waiting, async { std::fs::write(&go_on, "") });
    written.unwrap();
    let task = found.unwrap();
    assert_eq!((task.pid(), task.state().await.unwrap().status), (Some(pid), Status::Running));
    let survey = manager.survey(PATIENCE).await;
    assert_eq!((survey.tasks.len(), survey.unknown.len()), (1, 0));
    clear(manager, &dirs, &task).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_stuck_shims_delay_no_other() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    create(&manager, "z", ["sleep"]).await.start().await.unwrap();
    manager.detach().await;
    // More than are looked at at the same time. The kernel accepts for whoever listens here.
    let socket = dirs.socket("silent");
    let _silent = UnixListener::bind(&socket).unwrap();
    let tasks = dirs.state().join("io.containerd.runtime.v2.task/ns");
    for n in 0..100 {
        let bundle = tasks.join(format!("stuck{n}"));
        std::fs::create_dir(&bundle).unwrap();
        let json = format!(r#"{{"version":3,"address":"unix://{}","protocol":"ttrpc"}}"#, socket.display());
        std::fs::write(bundle.join("bootstrap.json"), json).unwrap();
    }
    let manager = open_patiently(&dirs).await;
    let task = within("the task", manager.find(&key("z"))).await.unwrap();
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    let survey = manager.survey(Duration::ZERO).await;
    assert_eq!((survey.tasks.len(), survey.unknown.len()), (1, 100));
    task.kill(9, true).await.unwrap();
    within("the exit", task.wait()).await.unwrap();
    within("the deletion", task.delete()).await.unwrap();
    within("the detach", manager.detach()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_cannot_be_cleared_up_stays_in_sight_until_it_can() {
    let dirs = TestDirs::new();
    Manager::open(config(&dirs)).await.unwrap().detach().await;
    let bundle = dirs.state().join("io.containerd.runtime.v2.task/ns/a");
    std::fs::create_dir_all(&bundle).unwrap();
    let held = std::fs::File::create(bundle.join("held")).unwrap();
    let flags = ioctl_getflags(&held).unwrap();
    ioctl_setflags(&held, flags | IFlags::IMMUTABLE).unwrap();

    let (manager, _events) = Manager::open_with_events(config(&dirs), Filters::everything()).await.unwrap();
    let adoption = within("adoption", manager.adopted()).await;
    let survey = manager.survey(Duration::ZERO).await;
    let created = {
        let spec = TestSpec::fake(["sleep"]).to_bytes();
        manager.create(CreateTask::new(key("a"), spec).runtime("io.containerd.fake.v2")).await
    };
    let found = manager.get(&key("a"));
    ioctl_setflags(&held, flags).unwrap();
    let verdict = adoption.verdict(&key("a"));
    assert!(matches!(verdict, Some(Verdict::Unreachable { .. })), "{verdict:?}");
    let reason = survey.unknown[0].reason.clone().unwrap();
    assert!(reason.contains("held"), "{reason}");
    assert_eq!(created.unwrap_err().kind(), Kind::AlreadyExists);
    assert_eq!(found.unwrap_err().kind(), Kind::Unavailable);

    within("another try", manager.freed(&key("a"))).await;
    within("its verdict", async {
        while manager.adoption().verdict(&key("a")) != Some(&Verdict::Leaked) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_no_fifo_is_no_reason_to_leave_a_task() {
    let dirs = TestDirs::new();
    let (manager, task, pid) = running(&dirs).await;
    let log = task.bundle().join("log");
    manager.detach().await;
    std::fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &log).unwrap();
    super::it_is_back(&dirs, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_waits_for_no_adoption() {
    let dirs = TestDirs::new();
    let (manager, task, pid) = running(&dirs).await;
    let shim = task.shim_pid().unwrap();
    manager.detach().await;
    stop_process(shim);
    within("leaving", open_patiently(&dirs).await.detach()).await;
    signal(shim, rustix::process::Signal::CONT);
    super::it_is_back(&dirs, pid).await;
}
