// SPDX-License-Identifier: Apache-2.0
//! Tasks that share a shim: one connection for all of them, a death for each, and a shim that goes with the last.

use rustix::process::Signal;
use shimkeeper::{CreateTask, Kind, Manager, Status, Task, Verdict};
use shimkeeper_shim::{Address, BootstrapParams, Bundle, StateDirs};
use shimkeeper_testkit::{Act, Method, Script, TestDirs, TestSpec, When};
use tokio::task::JoinSet;

use crate::bench::{Bench, config, end, key, kill_shim, lives, signal, until};
use crate::oracle;

/// A task in the one group of its test. The script of the first is the shim's.
pub(crate) fn member(id: &str, script: &Script) -> CreateTask {
    let spec = TestSpec::fake(["stubborn"]).annotation("io.containerd.runc.v2.group", "pod").script(script);
    CreateTask::new(key(id), spec.to_bytes()).runtime("io.containerd.fake.v2")
}

async fn running(manager: &Manager, id: &str) -> Task {
    let task = manager.create(member(id, &Script::new())).await.unwrap();
    task.start().await.unwrap();
    task
}

/// How many connections the shim of a task has accepted that are still open.
pub(crate) fn connections(dirs: &TestDirs, task: &Task) -> usize {
    let dirs = StateDirs::new(dirs.state(), dirs.root()).unwrap();
    let bundle = Bundle::open(&dirs, task.key()).unwrap();
    let Address::Unix(socket) = BootstrapParams::read(&bundle).unwrap().address else { panic!("a path") };
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let of_socket = |line: &&str| line.ends_with(socket.to_str().unwrap());
    // The listening one has a flag, and is not a connection.
    table.lines().filter(of_socket).filter(|line| !line.contains(" 00010000 ")).count()
}

async fn is_running(task: &Task) -> bool {
    task.state().await.is_ok_and(|state| state.status == Status::Running)
}

#[tokio::test(flavor = "multi_thread")]
async fn they_have_one_shim_and_one_connection_until_the_last_one_leaves() {
    let bench = Bench::new().await;
    let one = running(&bench.manager, "one").await;
    let two = running(&bench.manager, "two").await;
    let three = running(&bench.manager, "three").await;
    let shim = one.shim_pid().unwrap();
    assert_eq!((two.shim_pid(), three.shim_pid()), (Some(shim), Some(shim)));
    assert_eq!(connections(&bench.dirs, &one), 1);

    end(&one).await;
    assert!(is_running(&two).await && is_running(&three).await && lives(shim));
    assert_eq!(one.state().await.unwrap_err().kind(), Kind::NotFound);
    end(&three).await;
    assert!(is_running(&two).await && lives(shim));
    assert_eq!(connections(&bench.dirs, &two), 1);
    end(&two).await;
    assert!(!lives(shim));
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_shim_is_one_end_for_each() {
    let bench = Bench::new().await;
    let mut tasks = Vec::new();
    for id in ["one", "two", "three"] {
        tasks.push(running(&bench.manager, id).await);
    }
    kill_shim(&tasks[1]);
    for task in &tasks {
        let exit = task.wait().await.unwrap();
        assert_eq!(Some(exit.pid), task.pid());
        bench.gone(task).await;
    }
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_be_made_leaves_the_others_alone() {
    let bench = Bench::new().await;
    let script = Script::new().on_nth(Method::Create, 2, When::Before, Act::err(2, "no more"));
    let one = bench.manager.create(member("one", &script)).await.unwrap();
    one.start().await.unwrap();
    let error = bench.manager.create(member("two", &script)).await.unwrap_err();
    assert!(error.to_string().contains("no more"), "{error}");
    assert!(is_running(&one).await);
    let left = oracle::leftovers(&bench.dirs);
    assert_eq!(left.bundles, [one.bundle()], "{left}");
    running(&bench.manager, "two").await;
    for id in ["two", "one"] {
        end(&bench.manager.get(&key(id)).unwrap()).await;
    }
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_joins_while_the_last_one_leaves() {
    let bench = Bench::new().await;
    let mut last = running(&bench.manager, "a").await;
    for turn in 0..12 {
        let id = if turn % 2 == 0 { "b" } else { "a" };
        last.kill(9, true).await.unwrap();
        last.wait().await.unwrap();
        let joining = async {
            // A little later each time, over the whole of the other's leaving.
            tokio::time::sleep(std::time::Duration::from_millis(turn * 4)).await;
            running(&bench.manager, id).await
        };
        let (left, joined) = tokio::join!(last.delete(), joining);
        left.unwrap();
        assert!(is_running(&joined).await, "{turn}");
        last = joined;
    }
    end(&last).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_come_and_go_at_once() {
    let bench = Bench::new().await;
    let mut members = JoinSet::new();
    for n in 0..6 {
        let manager = bench.manager.clone();
        members.spawn(async move {
            for _ in 0..4 {
                end(&running(&manager, &format!("m{n}")).await).await;
            }
        });
    }
    while let Some(member) = members.join_next().await {
        member.unwrap();
    }
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_adopted_with_one_connection_and_each_end_is_told_once() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let pids = [running(&manager, "one").await.pid(), running(&manager, "two").await.pid()];
    running(&manager, "three").await;
    manager.detach().await;

    let manager = Manager::open(config(&dirs)).await.unwrap();
    let bench = Bench::of(dirs, manager);
    bench.manager.adopted().await;
    let tasks = ["one", "two", "three"].map(|id| bench.manager.get(&key(id)).unwrap());
    assert_eq!([tasks[0].pid(), tasks[1].pid()], pids);
    assert_eq!(bench.manager.adoption().verdict(&key("one")), Some(&Verdict::Adopted));
    // The shim lets go of the other manager's a little later.
    until(|| connections(&bench.dirs, &tasks[0]) == 1).await;
    let shim = tasks[0].shim_pid().unwrap();
    end(&tasks[2]).await;
    assert!(is_running(&tasks[0]).await && lives(shim));
    signal(shim, Signal::KILL);
    for task in &tasks[..2] {
        task.wait().await.unwrap();
        until(|| bench.manager.get(task.key()).is_err()).await;
    }
    bench.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_again_for_all() {
    let bench = Bench::new().await;
    let script = Script::new().on_nth(Method::Pids, 1, When::Before, Act::CloseThenAcceptNew);
    let one = bench.manager.create(member("one", &script)).await.unwrap();
    one.start().await.unwrap();
    let two = running(&bench.manager, "two").await;
    one.pids().await.unwrap_err();
    let both = async {
        while !(is_running(&one).await && is_running(&two).await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::bench::PATIENCE, both).await.expect("both are reached again");
    until(|| connections(&bench.dirs, &one) == 1).await;
    end(&one).await;
    end(&two).await;
    bench.is_clean();
}
