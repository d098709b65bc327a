// SPDX-License-Identifier: Apache-2.0
//! A shim that does not answer. No call waits longer than its deadline, none of them costs the task, and there is a
//! way past every one of them.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shimkeeper::events::TaskEvent;
use shimkeeper::{Deadlines, HealthState, Kind, Manager, ProcessKey, Provenance, Status};
use shimkeeper_testkit::{Act, DeleteAct, Events, Method, Script, StartStep, TestDirs, When, stop_process};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::{
    Bench, PATIENCE, SHORT, chain, config, end, exec, key, kill_shim, lives, request, signal, until,
};
use crate::calls::{CALLS, make_call};
use crate::oracle;

/// A deadline for what a real process has to do within it, on a busy machine.
const ENOUGH: Duration = Duration::from_secs(2);

fn hangs(method: Method) -> Script {
    Script::new().on_nth(method, 1, When::Before, Act::Hang)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_create() {
    let bench = Bench::with(|d| d.create = ENOUGH).await;
    let error = bench.refused(&hangs(Method::Create), Kind::DeadlineExceeded, "no answer within").await;
    assert!(error.hint().is_some());
    // Made, and not said.
    let script = Script::new().on(Method::Create, When::After, Act::Hang);
    bench.refused(&script, Kind::DeadlineExceeded, "no answer within").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_connect() {
    let bench = Bench::with(|d| d.dial = ENOUGH).await;
    bench.refused(&hangs(Method::Connect), Kind::DeadlineExceeded, "no answer within").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_any_other_call() {
    let bench = Bench::with(|d| {
        (d.state, d.start, d.kill, d.exec) = (SHORT, SHORT, SHORT, SHORT);
        (d.query, d.change, d.checkpoint) = (SHORT, SHORT, SHORT);
    })
    .await;
    for method in CALLS {
        let task = bench.create("one", &["sleep"], &hangs(method)).await.unwrap();
        let began = Instant::now();
        let error = make_call(method, &task).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DeadlineExceeded, "{method}: {}", chain(&error));
        assert!(began.elapsed() < SHORT + Duration::from_secs(1), "{method}: {:?}", began.elapsed());
        oracle::refusal(&error);
        assert!(error.hint().is_some());
        // It is not dead, and nobody treats it as if it were.
        let status = task.state().await.unwrap().status;
        assert_eq!(status, Status::Created, "{method}");
        assert_eq!(task.start().await.unwrap(), task.pid().unwrap(), "{method}");
        end(&task).await;
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_that_change_count_for_shims_that_are_there() {
    let bench = Bench::with(|d| d.kill = Duration::from_mins(10)).await;
    let task = bench.create("one", &["sleep"], &hangs(Method::Kill)).await.unwrap();
    let mut deadlines = Deadlines::default();
    deadlines.kill = SHORT;
    bench.manager.set_deadlines(deadlines);
    let error = tokio::time::timeout(PATIENCE, task.kill(15, false)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{}", chain(&error));
    assert!(chain(&error).contains("within 500ms"), "{}", chain(&error));
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_start_after_it_happened() {
    let bench = Bench::with(|d| d.start = SHORT).await;
    let script = Script::new().on_nth(Method::Start, 1, When::After, Act::Hang);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    assert_eq!(task.start().await.unwrap_err().kind(), Kind::DeadlineExceeded);
    assert_eq!(task.start().await.unwrap(), task.pid().unwrap(), "asking again finds out");
    assert_eq!(task.start().await.unwrap_err().kind(), Kind::FailedPrecondition);
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_start_of_a_process_that_then_ends_unseen() {
    let bench = Bench::with(|d| d.start = SHORT).await;
    let script = Script::new().on_nth(Method::Start, 1, When::After, Act::Hang).events(Events::None);
    let task = bench.create("one", &["exit", "3"], &script).await.unwrap();
    assert_eq!(task.start().await.unwrap_err().kind(), Kind::DeadlineExceeded);
    assert_eq!(task.wait().await.unwrap().status, 3, "nobody has to ask again to learn its end");
    task.delete().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_wait() {
    let bench = Bench::new().await;
    let script = Script::new().on(Method::Wait, When::Before, Act::Hang);
    let task = bench.create("one", &["exit", "3"], &script).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(task.wait().await.unwrap().status, 3, "the event tells, too");
    task.delete().await.unwrap();

    let task = bench.create("one", &["exit", "3"], &script.clone().events(Events::None)).await.unwrap();
    task.start().await.unwrap();
    let (waited, deleted) = tokio::join!(task.wait(), async {
        // Nothing tells of the end but the task itself: asked until it is over.
        loop {
            match task.delete().await {
                Err(error) if error.kind() == Kind::FailedPrecondition => tokio::task::yield_now().await,
                done => return done,
            }
        }
    });
    assert_eq!((waited.unwrap().status, deleted.unwrap().status), (3, 3));

    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    kill_shim(&task);
    assert_eq!(task.wait().await.unwrap().status, 137, "a dead shim ends every wait");
    bench.gone(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_delete_of_what_has_ended() {
    let bench = Bench::with(|d| d.delete = SHORT).await;
    let script = Script::new().on(Method::Delete, When::Before, Act::Hang);
    let task = bench.create("one", &["exit", "3"], &script).await.unwrap();
    task.start().await.unwrap();
    task.wait().await.unwrap();
    let exit = task.delete().await.unwrap();
    assert_eq!((exit.status, exit.provenance), (3, Provenance::Observed));
    bench.is_clean();
    bench.id_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_delete_of_what_runs() {
    let bench = Bench::with(|d| d.delete = SHORT).await;
    let task = bench.create("one", &["sleep"], &hangs(Method::Delete)).await.unwrap();
    let pid = task.start().await.unwrap();
    let error = task.delete().await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{}", chain(&error));
    assert!(lives(pid) && task.state().await.unwrap().status == Status::Running);
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shutdown_or_refusing_it() {
    let bench = Bench::with(|d| d.shutdown = SHORT).await;
    for act in [Act::Hang, Act::err(2, "not today"), Act::Close] {
        let script = Script::new().on(Method::Shutdown, When::Before, act.clone());
        let task = bench.create("one", &["exit", "3"], &script).await.unwrap();
        task.start().await.unwrap();
        task.wait().await.unwrap();
        assert_eq!(task.delete().await.unwrap().status, 3, "{act:?}");
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_stopped_process() {
    let bench = Bench::with(|d| {
        (d.state, d.delete, d.shutdown, d.signal) = (SHORT, SHORT, SHORT, SHORT);
    })
    .await;
    let task = bench.honest("one", &["sleep"]).await;
    let pid = task.start().await.unwrap();
    let other = bench.honest("other", &["sleep"]).await;
    other.start().await.unwrap();
    let shim = task.shim_pid().unwrap();
    stop_process(shim);
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::DeadlineExceeded);
    assert_eq!(other.state().await.unwrap().status, Status::Running, "it slows nobody else down");
    let refused = task.delete().await.unwrap_err().kind();
    assert!(matches!(refused, Kind::DeadlineExceeded | Kind::Unavailable), "its container runs: {refused}");
    assert!(lives(pid) && lives(shim), "nothing is destroyed on doubt");
    signal(pid, Signal::KILL);
    // Stopped, it neither answers nor obeys SIGTERM.
    let exit = task.delete().await.unwrap();
    assert_eq!(exit.pid, pid);
    assert!(!lives(shim));
    end(&other).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_many_ask() {
    let bench = Bench::with(|d| d.state = Duration::from_secs(1)).await;
    let script = Script::new().on(Method::State, When::Before, Act::StopReading);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    let other = bench.honest("other", &["sleep"]).await;
    other.start().await.unwrap();
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..1000 {
        let task = task.clone();
        asking.spawn(async move { task.state().await.unwrap_err() });
    }
    assert_eq!(other.state().await.unwrap().status, Status::Running);
    for error in asking.join_all().await {
        let kind = error.kind();
        assert!(matches!(kind, Kind::DeadlineExceeded | Kind::ResourceExhausted), "{}", chain(&error));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    end(&other).await;
    kill_shim(&task);
    bench.gone(&task).await;
    bench.is_clean();
}

/// As many as have a turn, of those that launch shims, and more.
fn many() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get) * 4 + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn many_creations_at_once_hold_no_other_up() {
    let never = Duration::from_mins(10);
    let bench = Bench::with(|d| (d.launch, d.create) = (never, never)).await;
    for script in [hangs(Method::Create), Script::new().start([StartStep::Hang])] {
        let leave = CancellationToken::new();
        let mut hanging = JoinSet::new();
        for number in 0..many() {
            let (manager, leave) = (bench.manager.clone(), leave.clone());
            let request = request(&format!("hangs-{number}"), &["sleep"], &script);
            hanging.spawn(async move { leave.run_until_cancelled(manager.create(request)).await.is_none() });
        }
        until(|| oracle::leftovers(&bench.dirs).bundles.len() == many()).await;
        // Whoever leaves the line leaves nothing.
        let waits = async { bench.create("leaves", &["sleep"], &Script::new()).await };
        assert!(tokio::time::timeout(Duration::from_millis(1), waits).await.is_err());
        let other = tokio::time::timeout(PATIENCE, bench.honest("other", &["sleep"])).await.unwrap();
        other.start().await.unwrap();
        end(&other).await;
        assert_eq!(hanging.len(), many());
        assert!(hanging.try_join_next().is_none(), "they hang still");
        leave.cancel();
        assert!(hanging.join_all().await.into_iter().all(|left| left));
        bench.idle().await;
        until(|| bench.manager.list().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_delete_action() {
    let bench = Bench::with(|d| d.reap = ENOUGH).await;
    for first in [DeleteAct::Hang, DeleteAct::Exit(1), DeleteAct::Garbage, DeleteAct::Grandchild(30_000)] {
        let script = Script::new().delete([first.clone(), DeleteAct::Ok]);
        let task = bench.create("one", &["sleep"], &script).await.unwrap();
        let pid = task.start().await.unwrap();
        kill_shim(&task);
        let exit = task.wait().await.unwrap();
        assert_eq!((exit.pid, exit.status), (pid, 137), "{first:?}");
        assert!(!lives(pid), "{first:?}");
        if matches!(first, DeleteAct::Grandchild(_)) {
            // Done and over with it; the child it left is nobody's.
            until(|| bench.manager.get(task.key()).is_err()).await;
            bench.dirs.sweep().unwrap();
        }
        bench.gone(&task).await;
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_action_that_hangs_keeps_no_exit_back() {
    let bench = Bench::with(|d| d.reap = Duration::from_secs(5)).await;
    let script = Script::new().delete([DeleteAct::Hang, DeleteAct::Ok]);
    let task = bench.create("one", &["stubborn"], &script).await.unwrap();
    let pid = task.start().await.unwrap();
    let process = exec(&task, "x", &["sleep"]).await;
    let began = Instant::now();
    kill_shim(&task);
    let exit = task.wait().await.unwrap();
    assert_eq!((exit.pid, exit.status), (pid, 137));
    assert!(!lives(pid) && !lives(process.pid().unwrap()), "told only of the dead");
    bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    let state = task.state().await.unwrap();
    assert_eq!((state.status, state.exit), (Status::Stopped, Some(exit)));
    let told = bench.events();
    assert!(began.elapsed() < Duration::from_secs(5), "the action hangs for longer: {:?}", began.elapsed());
    let place = |process: &ProcessKey| told.iter().position(|seen| seen.is_exit_of(process));
    assert!(place(&ProcessKey::Exec("x".parse().unwrap())) < place(&ProcessKey::Init), "{told:?}");
    assert!(!told.iter().any(|seen| matches!(seen.event, TaskEvent::Delete { .. })), "{told:?}");
    bench.gone(&task).await;
    assert_eq!(task.delete().await.unwrap(), exit);
    bench.is_clean();
    bench.id_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_left_to_the_delete_action_where_no_other_kill_is_allowed() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs).bypass_kill(false)).await.unwrap();
    let bench = Bench::of(dirs, manager);
    let script = Script::new().delete([vec![DeleteAct::Exit(1); 3], vec![DeleteAct::Ok]].concat());
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    let pid = task.start().await.unwrap();
    kill_shim(&task);
    until(|| task.health().reason.contains("delete action failed")).await;
    assert!(lives(pid), "it runs, and that is what everybody is told:");
    assert!(!bench.events().iter().any(|seen| seen.is_exit_of(&ProcessKey::Init)));
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(task.wait().await.unwrap().status, 137);
    bench.gone(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_action_that_always_fails_is_quarantined_and_tried_again() {
    let bench = Bench::new().await;
    // Three times by itself, and three times because a caller will not wait for the next time.
    let script = Script::new().delete([vec![DeleteAct::Exit(1); 6], vec![DeleteAct::Ok]].concat());
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    let pid = task.start().await.unwrap();
    kill_shim(&task);
    until(|| task.health().reason.contains("delete action failed")).await;
    assert_eq!(task.health().state, HealthState::Gone);
    let refused = async {
        loop {
            let error = task.delete().await.unwrap_err();
            if error.to_string().contains("quarantined") {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", chain(&error));
    assert!(error.hint().is_some());
    oracle::refusal(&error);
    assert!(!lives(pid), "its end needs no action:");
    bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    assert_eq!(task.state().await.unwrap().status, Status::Stopped);
    assert_eq!(bench.manager.list().len(), 1, "it stays in sight");
    let taken = bench.create("one", &["sleep"], &Script::new()).await.unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists);
    assert_eq!(task.wait().await.unwrap().status, 137);
    bench.gone(&task).await;
    assert_eq!(bench.manager.get(&key("one")).unwrap_err().kind(), Kind::NotFound);
    bench.is_clean();
}
