// SPDX-License-Identifier: Apache-2.0
//! How a shim is doing, and what callers have of it: those of a stuck one do not queue, those of others do not notice,
//! and whoever has less time than the manager is answered within it.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shimkeeper::{Config, Deadlines, HealthState, Kind, Manager, Status, Task};
use shimkeeper_testkit::{Act, Method, Script, TestDirs, When, stop_process};
use tokio::task::JoinSet;

use crate::bench::{Bench, SHORT, chain, config, end, exec_request, kill_shim, signal, until};
use crate::calls::{CALLS, make_call};
use crate::oracle;

/// What an honest shim gets for an answer, on a busy machine.
const ENOUGH: Duration = Duration::from_secs(1);

fn state_of(task: &Task) -> HealthState {
    task.health().state
}

async fn stuck(task: &Task) {
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::DeadlineExceeded);
    until(|| state_of(task) == HealthState::Stuck).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_shim_refuses_at_once_until_it_is_heard_of_again() {
    let bench = Bench::with(|d| d.state = ENOUGH).await;
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    let other = bench.honest("other", &["sleep"]).await;
    assert_eq!(state_of(&task), HealthState::Healthy);
    assert_eq!(task.health().reason, "");

    stop_process(task.shim_pid().unwrap());
    stuck(&task).await;
    let health = task.health();
    assert!(health.reason.contains("no sign of life"), "{health:?}");
    let began = Instant::now();
    // It has been started already.
    for method in CALLS.into_iter().filter(|method| *method != Method::Start) {
        let error = make_call(method, &task).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{method}: {}", chain(&error));
        assert!(error.to_string().contains("stuck for"), "{error}");
        assert!(error.hint().is_some());
        oracle::refusal(&error);
    }
    assert!(began.elapsed() < ENOUGH, "none of them waited: {:?}", began.elapsed());
    assert_eq!(task.delete().await.unwrap_err().kind(), Kind::Unavailable, "its container may run");
    assert_eq!(
        (state_of(&other), other.state().await.unwrap().status),
        (HealthState::Healthy, Status::Created)
    );
    assert_eq!(task.health().since, health.since, "it was stuck all the time");

    signal(task.shim_pid().unwrap(), Signal::CONT);
    until(|| state_of(&task) == HealthState::Healthy).await;
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    end(&task).await;
    end_unstarted(&other).await;
    bench.is_clean();
}

async fn end_unstarted(task: &Task) {
    task.delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_that_hangs_does_not_make_a_shim_stuck() {
    let bench = Bench::with(|d| (d.state, d.query) = (ENOUGH, ENOUGH)).await;
    let script = Script::new().on(Method::Pids, When::Before, Act::Hang);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    for _ in 0..2 {
        assert_eq!(task.pids().await.unwrap_err().kind(), Kind::DeadlineExceeded);
        assert_ne!(state_of(&task), HealthState::Stuck);
        assert_eq!(task.state().await.unwrap().status, Status::Created, "everything else is answered");
        until(|| state_of(&task) == HealthState::Healthy).await;
    }
    end_unstarted(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_read_keeps_nobody_waiting() {
    let bench = Bench::with(|d| d.state = ENOUGH).await;
    let script = Script::new().on(Method::State, When::Before, Act::StopReading);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    let other = bench.honest("other", &["sleep"]).await;
    stuck(&task).await;
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..1000 {
        let task = task.clone();
        asking.spawn(async move { task.state().await.unwrap_err().kind() });
    }
    assert!(asking.join_all().await.iter().all(|kind| *kind == Kind::Unavailable));
    assert!(began.elapsed() < ENOUGH, "{:?}", began.elapsed());
    assert_eq!(other.state().await.unwrap().status, Status::Created);
    kill_shim(&task);
    task.wait().await.unwrap();
    assert_eq!(state_of(&task), HealthState::Gone);
    assert!(!task.health().reason.is_empty());
    end_unstarted(&other).await;
    bench.gone_or_unheard(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_shorter_deadline_wins() {
    let bench = Bench::new().await;
    for method in CALLS {
        let script = Script::new().on_nth(method, 1, When::Before, Act::Hang);
        let task = bench.create("one", &["sleep"], &script).await.unwrap();
        let began = Instant::now();
        let error = make_call(method, &task.within(SHORT)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DeadlineExceeded, "{method}: {}", chain(&error));
        assert!(began.elapsed() < SHORT + Duration::from_secs(1), "{method}: {:?}", began.elapsed());
        task.delete().await.unwrap();
    }
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_can_wait_for_as_long_as_it_likes() {
    let bench = Bench::new().await;
    let script = Script::new().on(Method::Shutdown, When::Before, Act::Hang);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    let exec = task.exec(exec_request("x", &["sleep"])).await.unwrap();
    for error in [task.within(SHORT).wait().await.unwrap_err(), exec.within(SHORT).wait().await.unwrap_err()]
    {
        assert_eq!(error.kind(), Kind::DeadlineExceeded, "{}", chain(&error));
        assert!(error.hint().is_some());
        oracle::refusal(&error);
    }
    task.kill(9, true).await.unwrap();
    task.wait().await.unwrap();
    // The shim does not shut down, which takes longer than the caller has; it goes on all the same.
    let error = task.within(SHORT).delete().await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{}", chain(&error));
    assert_eq!(task.delete().await.unwrap().status, 137, "the second one joins the first");
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_runtime_may_have_deadlines_of_its_own() {
    let dirs = TestDirs::new();
    let mut short = Deadlines::default();
    short.state = SHORT;
    let of_others = Deadlines::default();
    let manager = Manager::open(
        config(&dirs)
            .deadlines_for("io.containerd.runc.v2", of_others)
            .deadlines_for("io.containerd.fake.v2", short),
    );
    let bench = Bench::of(dirs, manager.await.unwrap());
    let script = Script::new().on_nth(Method::State, 1, When::Before, Act::Hang);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    let error = task.state().await.unwrap_err();
    assert!(error.to_string().contains(&format!("{SHORT:?}")), "{}", chain(&error));
    end_unstarted(&task).await;

    let mut shorter = Deadlines::default();
    shorter.state = SHORT / 2;
    assert!(bench.manager.set_deadlines_for("io.containerd.fake.v2", &shorter));
    assert!(!bench.manager.set_deadlines_for("io.containerd.other.v2", &shorter), "it never had its own");
    let task = bench.create("two", &["sleep"], &script).await.unwrap();
    let error = task.state().await.unwrap_err();
    assert!(error.to_string().contains(&format!("{:?}", SHORT / 2)), "{}", chain(&error));
    end_unstarted(&task).await;
    bench.is_clean();

    let dirs = TestDirs::new();
    let config = Config::new(dirs.state(), dirs.root()).deadlines_for("no runtime", Deadlines::default());
    assert_eq!(Manager::open(config).await.unwrap_err().kind(), Kind::InvalidArgument);
}
