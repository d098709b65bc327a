// SPDX-License-Identifier: Apache-2.0
//! A shim that is killed around each step. Whoever waits learns the final status, every call in flight says that the
//! shim is gone, and one owner clears up, once.

use std::time::Duration;

use shimkeeper::events::TaskEvent;
use shimkeeper::{Exit, Kind, ProcessKey, Provenance};
use shimkeeper_testkit::{Act, Method, Script, When};

use crate::bench::{Bench, chain, exec, exec_request, key, kill_shim, lives};
use crate::calls::{CALLS, make_call};
use crate::oracle;

fn dies(method: Method, when: When) -> Script {
    Script::new().on(method, when, Act::Die)
}

/// How the init of a task whose shim was killed ended: SIGKILL, as far as anybody can know.
fn killed(exit: Exit, pid: u32) {
    assert_eq!(exit.pid, pid);
    assert_eq!(exit.status, 137, "{exit:?}");
    assert!(matches!(exit.provenance, Provenance::Recovered | Provenance::Inferred), "{exit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn between_dialling_and_create() {
    Bench::new().await.refused(&dies(Method::Connect, When::Before), Kind::Unavailable, "closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_create() {
    let bench = Bench::new().await;
    for when in [When::Before, When::After] {
        bench.refused(&dies(Method::Create, when), Kind::Unavailable, "closed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn between_create_and_start() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    bench.event(|seen| matches!(seen.event, TaskEvent::Create { .. })).await;
    let pid = task.pid().unwrap();
    kill_shim(&task);
    killed(task.wait().await.unwrap(), pid);
    bench.gone(&task).await;
    let exit = bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    assert!(matches!(exit.event, TaskEvent::Exit { pid: told, status: 137, .. } if told == pid), "{exit:?}");
    assert_eq!(task.start().await.unwrap_err().kind(), Kind::FailedPrecondition);
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::NotFound);
    bench.is_clean();
    bench.id_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_running_or_paused() {
    let bench = Bench::new().await;
    for paused in [false, true] {
        let task = bench.honest("one", &["sleep"]).await;
        let pid = task.start().await.unwrap();
        if paused {
            task.pause().await.unwrap();
        }
        let (exit, ()) = tokio::join!(task.wait(), async { kill_shim(&task) });
        killed(exit.unwrap(), pid);
        assert!(!lives(pid), "an exit is told only of the dead");
        bench.gone(&task).await;
        bench.is_clean();
    }
    bench.id_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exits_of_execs_come_first() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    let pid = task.start().await.unwrap();
    let one = exec(&task, "first", &["sleep"]).await;
    let two = exec(&task, "second", &["sleep"]).await;
    let idle = task.exec(exec_request("idle", &["sleep"])).await.unwrap();
    kill_shim(&task);
    killed(task.wait().await.unwrap(), pid);
    for exec in [&one, &two] {
        let pid = exec.pid().unwrap();
        let exit = exec.wait().await.unwrap();
        assert_eq!(exit.pid, pid);
        assert_ne!(exit.provenance, Provenance::Observed, "nobody saw it");
        assert!(!lives(pid));
    }
    assert_eq!(idle.wait().await.unwrap_err().kind(), Kind::FailedPrecondition);
    bench.gone(&task).await;
    let exits: Vec<_> = bench
        .events()
        .into_iter()
        .filter_map(|seen| match seen.event {
            TaskEvent::Exit { process, .. } => Some(process.exec_id().to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(exits, ["first", "second", ""]);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn during_any_other_call() {
    let bench = Bench::new().await;
    for method in CALLS {
        let task = bench.create("one", &["sleep"], &dies(method, When::Before)).await.unwrap();
        let error = make_call(method, &task).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{method}: {}", chain(&error));
        oracle::refusal(&error);
        task.wait().await.unwrap();
        bench.gone_or_unheard(&task).await;
        oracle::nothing_left(&bench.dirs);
    }
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn during_wait() {
    let bench = Bench::new().await;
    let task = bench.create("one", &["sleep"], &dies(Method::Wait, When::Before)).await.unwrap();
    let pid = task.pid().unwrap();
    killed(task.wait().await.unwrap(), pid);
    bench.gone_or_unheard(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn during_and_after_delete() {
    let bench = Bench::new().await;
    for (method, when) in
        [(Method::Delete, When::Before), (Method::Delete, When::After), (Method::Shutdown, When::Before)]
    {
        let task = bench.create("one", &["exit", "3"], &dies(method, when)).await.unwrap();
        let pid = task.start().await.unwrap();
        task.wait().await.unwrap();
        let exit = task.delete().await.unwrap_or_else(|e| panic!("{method} {when:?}: {}", chain(&e)));
        assert_eq!(
            (exit.pid, exit.status, exit.provenance),
            (pid, 3, Provenance::Observed),
            "{method} {when:?}"
        );
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_moment_of_a_life() {
    let bench = Bench::new().await;
    // Spread over the time that the steps below take, by a sequence that looks random and is the same every time.
    for round in 0..24_u64 {
        let task = bench.honest("one", &["sleep"]).await;
        let moment = Duration::from_micros(round * 7919 % 24 * 1500);
        let life = async {
            // Each step may find the shim gone.
            let _ = task.start().await;
            let _ = task.exec(exec_request("x", &["sleep"])).await;
            if let Ok(exec) = task.process(&"x".parse().unwrap()) {
                let _ = exec.start().await;
            }
            let _ = task.kill(9, true).await;
            let waited = task.wait().await.unwrap();
            let deleted = task.delete().await.unwrap_or_else(|e| panic!("round {round}: {}", chain(&e)));
            assert_eq!((waited.pid, waited.status), (deleted.pid, deleted.status));
        };
        let killing = async {
            tokio::time::sleep(moment).await;
            if let Some(pid) = task.shim_pid().filter(|pid| lives(*pid)) {
                let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
                // It may be gone by now, at the end of the life.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        };
        tokio::join!(life, killing);
        assert_eq!(bench.manager.get(&key("one")).unwrap_err().kind(), Kind::NotFound);
        bench.is_clean();
    }
}
