// SPDX-License-Identifier: Apache-2.0
//! Past a shim that does not answer: kill -9 reaches its processes all the same, and how they ended is the kernel's
//! word, not a guess.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shimkeeper::{
    Asked, Deadlines, Dropped, Exit, HealthState, Kind, Manager, Observer, ProcessKey, Provenance, Status,
    Task,
};
use shimkeeper_testkit::{Act, DeleteAct, Method, Script, TestDirs, When, stop_process};

use crate::bench::{Bench, SHORT, config, end, exec, kill_shim, lives, signal, until};

/// What an honest shim gets for an answer, on a busy machine.
const ENOUGH: Duration = Duration::from_secs(1);

fn hasty(deadlines: &mut Deadlines) {
    (deadlines.state, deadlines.kill, deadlines.delete) = (ENOUGH, SHORT, ENOUGH);
    (deadlines.shutdown, deadlines.signal) = (SHORT, ENOUGH);
}

async fn started(bench: &Bench, args: &[&str], script: &Script) -> (Task, u32) {
    let task = bench.create("one", args, script).await.unwrap();
    let pid = task.start().await.unwrap();
    (task, pid)
}

fn stop_shim(task: &Task) {
    stop_process(task.shim_pid().unwrap());
}

async fn is_stuck(task: &Task) {
    let _ = task.state().await;
    until(|| task.health().state == HealthState::Stuck).await;
}

fn told(exit: Exit, pid: u32, status: u32) {
    assert_eq!((exit.pid, exit.status, exit.provenance), (pid, status, Provenance::Recovered), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_reaches_the_init_of_a_stopped_shim() {
    let bench = Bench::with(hasty).await;
    for all in [false, true] {
        let (task, pid) = started(&bench, &["stubborn"], &Script::new()).await;
        stop_shim(&task);
        let began = Instant::now();
        task.kill(9, all).await.unwrap();
        assert!(began.elapsed() < SHORT + Duration::from_secs(1), "{:?}", began.elapsed());
        let exit = task.wait().await.unwrap();
        told(exit, pid, 137);
        assert!(!lives(pid));
        bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
        assert_eq!(task.exit().unwrap().exit, exit);
        // Once it is known to be stuck, nobody waits for it any more.
        is_stuck(&task).await;
        let began = Instant::now();
        task.kill(9, all).await.unwrap();
        assert!(began.elapsed() < SHORT, "{:?}", began.elapsed());
        assert_eq!(task.delete().await.unwrap(), exit);
        bench.is_clean();
    }
    bench.id_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_reaches_an_exec_and_nobody_else() {
    let bench = Bench::with(hasty).await;
    let (task, init) = started(&bench, &["sleep"], &Script::new()).await;
    let process = exec(&task, "x", &["sleep"]).await;
    let pid = process.pid().unwrap();
    stop_shim(&task);
    process.kill(9).await.unwrap();
    told(process.wait().await.unwrap(), pid, 137);
    assert!(lives(init));
    signal(task.shim_pid().unwrap(), Signal::CONT);
    until(|| task.health().state == HealthState::Healthy).await;
    // The shim tells of it too now, which is nothing new.
    told(process.delete().await.unwrap(), pid, 137);
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_execs_end_before_their_init() {
    let bench = Bench::with(hasty).await;
    let (task, init) = started(&bench, &["sleep"], &Script::new()).await;
    let processes = [exec(&task, "a", &["sleep"]).await, exec(&task, "b", &["stubborn"]).await];
    stop_shim(&task);
    task.kill(9, true).await.unwrap();
    told(task.wait().await.unwrap(), init, 137);
    for process in &processes {
        told(process.wait().await.unwrap(), process.pid().unwrap(), 137);
    }
    task.delete().await.unwrap();
    bench.is_clean();
}

/// Looks for the record of a task whenever an exit is told.
#[derive(Debug)]
struct Reader {
    record: PathBuf,
    /// How many exits were on record when each was told.
    seen: Mutex<Vec<usize>>,
}

impl Observer for Reader {
    fn asked(&self, _: &Asked<'_>) {}

    fn dropped(&self, _: Dropped) {}

    fn exited(&self, _: Provenance) {
        let record = std::fs::read_to_string(&self.record).unwrap();
        let last = record.lines().last().unwrap();
        self.seen.lock().unwrap().push(last.matches("\"status\"").count());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_all_are_on_record_before_they_are_told() {
    let dirs = TestDirs::new();
    let mut deadlines = Deadlines::default();
    hasty(&mut deadlines);
    let record = dirs.state().join("io.containerd.runtime.v2.task/ns/one/shimkeeper.json");
    let reader = Arc::new(Reader { record, seen: Mutex::default() });
    let config = config(&dirs).deadlines(deadlines).observer(reader.clone());
    let manager = Manager::open(config).await.unwrap();
    let bench = Bench::of(dirs, manager);
    let (task, _) = started(&bench, &["sleep"], &Script::new()).await;
    let processes = [exec(&task, "a", &["sleep"]).await, exec(&task, "b", &["stubborn"]).await];
    stop_shim(&task);
    task.kill(9, true).await.unwrap();
    bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    let seen = reader.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1 + processes.len(), "{seen:?}");
    for (told, on_record) in seen.iter().enumerate() {
        assert!(told < *on_record, "one of them was told first: {seen:?}");
    }
    task.delete().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_signal_and_no_manager_that_was_told_not_to_does_it() {
    let dirs = TestDirs::new();
    let mut deadlines = Deadlines::default();
    hasty(&mut deadlines);
    let manager = Manager::open(config(&dirs).deadlines(deadlines).bypass_kill(false)).await.unwrap();
    let forbidden = Bench::of(dirs, manager);
    let allowed = Bench::with(hasty).await;
    for (bench, number) in [(&forbidden, 9), (&allowed, 15)] {
        let (task, pid) = started(bench, &["sleep"], &Script::new()).await;
        stop_shim(&task);
        assert_eq!(task.kill(number, true).await.unwrap_err().kind(), Kind::DeadlineExceeded);
        is_stuck(&task).await;
        assert_eq!(task.kill(number, true).await.unwrap_err().kind(), Kind::Unavailable);
        assert!(lives(pid));
        signal(task.shim_pid().unwrap(), Signal::CONT);
        until(|| task.health().state == HealthState::Healthy).await;
        if number == 9 {
            // What was sent before counts, late as it is.
            assert_eq!(task.wait().await.unwrap().status, 137);
            task.delete().await.unwrap();
        } else {
            let _ = task.kill(9, true).await;
            task.wait().await.unwrap();
            task.delete().await.unwrap();
        }
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_refuses_is_not_passed_by() {
    let bench = Bench::with(hasty).await;
    let script = Script::new().on_nth(Method::Kill, 1, When::Before, Act::err(14, "come back later"));
    let (task, pid) = started(&bench, &["sleep"], &script).await;
    assert_eq!(task.kill(9, false).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(lives(pid), "it answered, so it decides");
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_fails_is() {
    let bench = Bench::with(hasty).await;
    let failing = Act::err(2, "unknown error after kill: runc did not terminate successfully: exit status 1");
    let script = Script::new().on_nth(Method::Kill, 1, When::Before, failing);
    let (task, pid) = started(&bench, &["sleep"], &script).await;
    task.kill(15, false).await.unwrap_err();
    assert!(lives(pid), "nothing but SIGKILL goes past a shim");
    end(&task).await;

    let failing = Act::err(2, "lstat /sys/fs/cgroup/devices/gone: no such file or directory");
    let script = Script::new().on_nth(Method::Kill, 1, When::Before, failing);
    let (task, pid) = started(&bench, &["sleep"], &script).await;
    task.kill(9, false).await.unwrap();
    let exit = task.wait().await.unwrap();
    assert_eq!((exit.pid, exit.status), (pid, 137), "{exit:?}");
    task.delete().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_the_kernels_when_the_shim_is_stopped() {
    let bench = Bench::with(hasty).await;
    let (task, pid) = started(&bench, &["exit-after-ms", "1500", "7"], &Script::new()).await;
    stop_shim(&task);
    let _ = task.state().await;
    told(task.wait().await.unwrap(), pid, 7);
    signal(task.shim_pid().unwrap(), Signal::CONT);
    until(|| task.health().state == HealthState::Healthy).await;
    let exit = task.delete().await.unwrap();
    told(exit, pid, 7);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_without_a_connection_keeps_nobody_alive() {
    let bench = Bench::with(hasty).await;
    let script = Script::new().on(Method::Pids, When::Before, Act::Close);
    let (task, pid) = started(&bench, &["stubborn"], &script).await;
    task.pids().await.unwrap_err();
    until(|| task.health().state == HealthState::Stuck).await;
    let health = task.health();
    assert!(!health.reason.is_empty(), "{health:?}");
    task.kill(9, false).await.unwrap();
    until(|| !lives(pid)).await;
    // Kernels before 6.15 leave it to the end of the task to say how.
    kill_shim(&task);
    let exit = task.wait().await.unwrap();
    assert_eq!((exit.pid, exit.status), (pid, 137));
    // Its events have a connection of their own, so the shim may have told it before it was killed.
    assert_ne!(exit.provenance, Provenance::Unknown, "{exit:?}");
    bench.gone(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_dead_shim_cannot_be_reaped_ends_all_the_same() {
    let bench = Bench::with(hasty).await;
    let fails = || DeleteAct::Exit(1);
    let script = Script::new().delete([fails(), fails(), fails(), DeleteAct::Ok]);
    let (task, pid) = started(&bench, &["stubborn"], &script).await;
    kill_shim(&task);
    until(|| task.health().reason.contains("delete action failed")).await;
    assert!(!lives(pid));
    let exit = task.wait().await.unwrap();
    assert_eq!((exit.pid, exit.status), (pid, 137));
    assert!(matches!(exit.provenance, Provenance::Recovered | Provenance::Inferred), "{exit:?}");
    bench.gone(&task).await;
    bench.is_clean();
}
