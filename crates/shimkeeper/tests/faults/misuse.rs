// SPDX-License-Identifier: Apache-2.0
//! Callers who do things twice, at the same time, out of order, under names that are none, or who leave.

use std::time::Duration;

use shimkeeper::{CreateTask, ExecId, ExecTask, Kind, Namespace, Status, TaskId, TaskKey};
use shimkeeper_testkit::{Act, Method, Script, TestSpec, When};
use tokio::task::JoinSet;

use crate::bench::{Bench, chain, end, exec_request, key, request, until};
use crate::oracle;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_delete_joins_the_first() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["exit", "3"]).await;
    task.start().await.unwrap();
    task.wait().await.unwrap();
    let (one, two, three) = tokio::join!(task.delete(), task.delete(), task.delete());
    let exit = one.unwrap();
    assert_eq!(exit.status, 3);
    assert_eq!((two.unwrap(), three.unwrap()), (exit, exit));
    assert_eq!(task.delete().await.unwrap(), exit, "and a late one, too");
    assert_eq!(task.wait().await.unwrap(), exit);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_delete_goes_on() {
    let bench = Bench::new().await;
    for n in 0..6 {
        let task = bench.honest("one", &["exit", "3"]).await;
        task.start().await.unwrap();
        task.wait().await.unwrap();
        let left = tokio::time::timeout(Duration::from_millis(n * 3), task.delete()).await;
        // One that was never begun changes nothing.
        if n > 0 || left.is_ok() {
            bench.gone(&task).await;
        }
        task.delete().await.unwrap();
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_not_deleted() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    let error = task.delete().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{}", chain(&error));
    assert!(error.hint().unwrap().contains("kill it"), "{error}");
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_started_is_deleted() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    let pid = task.pid().unwrap();
    assert_eq!(task.delete().await.unwrap().pid, pid);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_started_once() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    let (one, two) = tokio::join!(task.start(), task.start());
    let refused = [one, two].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].kind(), Kind::FailedPrecondition);
    oracle::refusal(&refused[0]);
    let exec = task.exec(exec_request("x", &["sleep"])).await.unwrap();
    exec.start().await.unwrap();
    assert_eq!(exec.start().await.unwrap_err().kind(), Kind::FailedPrecondition);
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shims_own_refusal_gets_a_kind_and_keeps_its_words() {
    let bench = Bench::new().await;
    let said = "cannot start a running process: unknown";
    let script = Script::new().on_nth(Method::Start, 1, When::Before, Act::err(2, said));
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    let error = task.start().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains(said), "{error}");
    task.start().await.unwrap();
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_says_so() {
    let bench = Bench::new().await;
    let error = bench.create("one", &["missing"], &Script::new()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{}", chain(&error));
    assert!(error.hint().unwrap().contains("root file system"));
    bench.is_clean();
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    let exec = task.exec(exec_request("x", &["missing"])).await.unwrap();
    assert_eq!(exec.start().await.unwrap_err().kind(), Kind::NotFound);
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_id_is_taken_until_it_is_deleted() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    for _ in 0..2 {
        let exec = task.exec(exec_request("x", &["exit", "4"])).await.unwrap();
        let error = task.exec(exec_request("x", &["sleep"])).await.unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists);
        oracle::refusal(&error);
        exec.start().await.unwrap();
        let (waited, deleted) = tokio::join!(exec.wait(), async {
            exec.wait().await.unwrap();
            exec.delete().await
        });
        assert_eq!((waited.unwrap().status, deleted.unwrap().status), (4, 4));
        assert_eq!(exec.delete().await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(task.process(exec.id()).unwrap_err().kind(), Kind::NotFound);
    }
    end(&task).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_may_not_have_the_id_of_its_task() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    let error = task.exec(exec_request("one", &["sleep"])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.hint().is_some());
    oracle::refusal(&error);
    task.delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_needs_a_description() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    for process in ["", "{}", "[]", r#"{"args":[],"cwd":"/"}"#] {
        let error = task.exec(ExecTask::new("x".parse().unwrap(), process)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{process}");
        assert!(error.hint().is_some());
        oracle::refusal(&error);
    }
    assert_eq!(task.state().await.unwrap().status, Status::Running, "the shim was not asked");
    end(&task).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_none_is_not_restored_from() {
    let bench = Bench::new().await;
    for path in ["/no/such/directory", "relative", "/dev/null"] {
        let request = request("one", &["sleep"], &Script::new()).restore_from(path);
        let error = bench.manager.create(request).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{}", chain(&error));
        oracle::refusal(&error);
        bench.is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_are_none() {
    let bench = Bench::new().await;
    let task = bench.honest("one", &["sleep"]).await;
    task.start().await.unwrap();
    let error = task.kill(999, false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.hint().is_some());
    task.kill(0, false).await.unwrap();
    task.kill(9, false).await.unwrap();
    task.wait().await.unwrap();
    let error = task.kill(9, false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{}", chain(&error));
    task.delete().await.unwrap();
    assert_eq!(task.kill(9, false).await.unwrap_err().kind(), Kind::NotFound);
    bench.is_clean();
}

#[test]
fn ids_that_are_none() {
    for text in ["", "..", "a/b", "../z", "ä", "one\n", &"x".repeat(77)] {
        assert!(TaskId::try_from(text).is_err(), "{text:?}");
        assert!(Namespace::try_from(text).is_err(), "{text:?}");
        assert!(ExecId::try_from(text).is_err(), "{text:?}");
    }
    assert!(ExecId::try_from("init").is_err());
    assert!(Namespace::try_from("version").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_that_are_none_cost_nothing() {
    let bench = Bench::new().await;
    let good = TestSpec::fake(["sleep"]);
    let rootless = good.clone().with(|spec| spec["root"] = serde_json::Value::Null).to_bytes();
    let idle = good.with(|spec| spec["process"]["args"] = serde_json::json!([])).to_bytes();
    for spec in [bytes::Bytes::from("{"), bytes::Bytes::new(), rootless, idle] {
        let task = CreateTask::new(key("one"), spec).runtime("io.containerd.fake.v2");
        let error = bench.manager.create(task).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{}", chain(&error));
        assert!(error.hint().is_some());
        oracle::refusal(&error);
        bench.is_clean();
    }
    for runtime in ["", "runc", "../../bin/sh", "io.containerd.runc.v2\n"] {
        let task = request("one", &["sleep"], &Script::new()).runtime(runtime);
        let error = bench.manager.create(task).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{runtime:?}: {}", chain(&error));
        oracle::refusal(&error);
    }
    bench.id_is_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_of_one_id_one_succeeds() {
    let bench = Bench::new().await;
    let mut creating = JoinSet::new();
    for _ in 0..200 {
        let (manager, request) = (bench.manager.clone(), request("one", &["sleep"], &Script::new()));
        creating.spawn(async move { manager.create(request).await });
    }
    let (made, refused): (Vec<_>, Vec<_>) = creating.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), Kind::AlreadyExists, "{}", chain(&error));
        oracle::refusal(&error);
    }
    made.into_iter().next().unwrap().unwrap().delete().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_free_when_its_delete_answers() {
    let bench = Bench::new().await;
    for _ in 0..5 {
        let task = bench.honest("one", &["sleep"]).await;
        task.delete().await.unwrap();
    }
    // And a create that comes while it is being deleted waits for it.
    let task = bench.honest("one", &["exit", "0"]).await;
    task.start().await.unwrap();
    task.wait().await.unwrap();
    let deleting = task.delete();
    tokio::pin!(deleting);
    let again = async {
        loop {
            match bench.create("one", &["sleep"], &Script::new()).await {
                // Until the deletion has begun.
                Err(error) if error.kind() == Kind::AlreadyExists => tokio::task::yield_now().await,
                done => return done.unwrap(),
            }
        }
    };
    let (deleted, again) = tokio::join!(deleting, again);
    assert_eq!(deleted.unwrap().status, 0);
    assert_eq!(task.delete().await.unwrap().status, 0, "the old handle is about the old task");
    assert_eq!(again.state().await.unwrap().status, Status::Created);
    again.delete().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_in_two_namespaces_is_two_tasks() {
    let bench = Bench::new().await;
    let here = request("one", &["sleep"], &Script::new());
    let spec = TestSpec::fake(["exit", "5"]).to_bytes();
    let there =
        CreateTask::new(TaskKey::parse("elsewhere", "one").unwrap(), spec).runtime("io.containerd.fake.v2");
    let (here, there) =
        (bench.manager.create(here).await.unwrap(), bench.manager.create(there).await.unwrap());
    here.start().await.unwrap();
    there.start().await.unwrap();
    assert_eq!(there.wait().await.unwrap().status, 5);
    there.delete().await.unwrap();
    assert_eq!(here.state().await.unwrap().status, Status::Running);
    end(&here).await;
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_a_create_leaves_nothing() {
    let bench = Bench::new().await;
    for round in 0..20_u64 {
        let moment = Duration::from_micros(round * 7919 % 20 * 2500);
        match tokio::time::timeout(moment, bench.create("one", &["sleep"], &Script::new())).await {
            Ok(Ok(task)) => drop(task.delete().await.unwrap()),
            // The one before is still being undone.
            Ok(Err(error)) => assert_eq!(error.kind(), Kind::AlreadyExists, "{}", chain(&error)),
            Err(_) => {}
        }
    }
    bench.id_becomes_free().await;
    let Bench { dirs, manager, .. } = bench;
    // This waits for everything that goes on in the background.
    manager.detach().await;
    oracle::nothing_left(&dirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_was_left_at_its_very_end_leaves_nothing() {
    let bench = Bench::new().await;
    let script = Script::new();
    let mut creating = Box::pin(bench.create("one", &["sleep"], &script));
    // Polled once and then never again: its work is done, and nobody takes the task.
    let begun = tokio::time::timeout(Duration::ZERO, &mut creating).await;
    assert!(begun.is_err());
    let is_made = |task: shimkeeper::Task| task.phases().iter().next().is_some();
    until(|| bench.manager.get(&key("one")).is_ok_and(is_made)).await;
    drop(creating);
    bench.id_becomes_free().await;
    bench.is_clean();
}
