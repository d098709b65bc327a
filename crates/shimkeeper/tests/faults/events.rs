// SPDX-License-Identifier: Apache-2.0
//! What the public hears, whatever a shim tells and whenever: every step once, in order, with the status that `wait`
//! answers.

use std::time::Duration;

use prost::{Message, Name};
use shimkeeper::events::TaskEvent;
use shimkeeper::{Deadlines, Manager, ProcessKey, Provenance, Status};
use shimkeeper_proto::containerd::events::{TaskDelete, TaskExit, TaskOom};
use shimkeeper_testkit::{Act, DeleteAct, Emission, Events, Method, Received, Script, TestDirs, When};

use crate::bench::{Bench, config, end, exec, kill_shim, until};
use crate::oracle::Seen;

/// The steps of all tasks by name.
fn steps(events: &[Seen]) -> Vec<String> {
    let name = |seen: &Seen| match &seen.event {
        TaskEvent::Create { .. } => "create".to_owned(),
        TaskEvent::Start { .. } => "start".to_owned(),
        TaskEvent::ExecAdded { exec } => format!("added {exec}"),
        TaskEvent::ExecStarted { exec, .. } => format!("started {exec}"),
        TaskEvent::Exit { process, status, .. } => format!("exit {} {status}", process.exec_id()),
        TaskEvent::Delete { .. } => "delete".to_owned(),
        other => format!("{other:?}"),
    };
    events.iter().map(name).collect()
}

/// A life with an exec in it.
async fn life(script: &Script) -> Vec<String> {
    let bench = Bench::new().await;
    let task = bench.create("one", &["exit-after-ms", "100000", "0"], script).await.unwrap();
    task.start().await.unwrap();
    let exec = exec(&task, "x", &["exit", "4"]).await;
    assert_eq!(exec.wait().await.unwrap().status, 4);
    bench.event(|seen| seen.is_exit_of(&ProcessKey::Exec("x".parse().unwrap()))).await;
    exec.delete().await.unwrap();
    task.kill(9, false).await.unwrap();
    let waited = task.wait().await.unwrap();
    let told = bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    let TaskEvent::Exit { pid, status, .. } = told.event else { unreachable!() };
    assert_eq!((pid, status), (waited.pid, waited.status));
    assert_eq!(waited.provenance, Provenance::Observed);
    task.delete().await.unwrap();
    bench.is_clean();
    steps(&bench.events())
}

const HONEST: [&str; 7] = ["create", "start", "added x", "started x", "exit x 4", "exit  137", "delete"];

#[tokio::test(flavor = "multi_thread")]
async fn of_an_honest_shim_are_passed_on() {
    assert_eq!(life(&Script::new()).await, HONEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_are_heard_once() {
    assert_eq!(life(&Script::new().events(Events::DuplicateExit)).await, HONEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_wrong_order_are_put_right() {
    assert_eq!(life(&Script::new().events(Events::Reorder)).await, HONEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_are_lost_are_supplied() {
    assert_eq!(life(&Script::new().events(Events::None)).await, HONEST);
}

/// An event with this payload.
fn emit<M: Message + Name>(topic: &str, event: &M) -> Act {
    Act::Emit(Emission {
        namespace: String::new(),
        topic: topic.into(),
        type_url: M::full_name(),
        value: event.encode_to_vec().into(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_earlier_life_of_the_id_are_not_this_one_s() {
    let bench = Bench::new().await;
    let (id, pid) = ("one".to_owned(), 4_000_000);
    let exit = TaskExit { container_id: id.clone(), id: id.clone(), pid, exit_status: 1, exited_at: None };
    let delete = TaskDelete { container_id: id, pid, exit_status: 1, ..TaskDelete::default() };
    let script = Script::new().on(Method::Start, When::Before, emit("/tasks/exit", &exit)).on(
        Method::Start,
        When::Before,
        emit("/tasks/delete", &delete),
    );
    let task = bench.create("one", &["exit", "3"], &script).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(task.wait().await.unwrap().status, 3);
    task.delete().await.unwrap();
    bench.is_clean();
    assert_eq!(steps(&bench.events()), ["create", "start", "exit  3", "delete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_have_no_place_in_the_order_are_passed_on() {
    let bench = Bench::new().await;
    let oom = TaskOom { container_id: "one".into() };
    let script = Script::new().on(Method::Kill, When::Before, emit("/tasks/oom", &oom));
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    task.pause().await.unwrap();
    task.resume().await.unwrap();
    end(&task).await;
    bench.is_clean();
    let told = steps(&bench.events());
    assert_eq!(told, ["create", "start", "Paused", "Resumed", "Oom", "exit  137", "delete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_deletion_that_nobody_told_are_supplied_too() {
    let bench = Bench::new().await;
    let script = Script::new().events(Events::None);
    let task = bench.create("one", &["exit", "3"], &script).await.unwrap();
    task.start().await.unwrap();
    // Deleted as soon as it can be: the exit may be on its way to the public still.
    task.wait().await.unwrap();
    task.delete().await.unwrap();
    bench.is_clean();
    assert_eq!(steps(&bench.events()), ["create", "start", "exit  3", "delete"]);
}

/// A shim that tells nothing of how its execs end, unless it is asked for their state.
fn silent_of_execs() -> Script {
    Script::new().events(Events::None).on_nth(Method::Wait, 2, When::Before, Act::Hang)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_exec_that_are_lost_come_before_the_end_of_its_init() {
    let bench = Bench::new().await;
    let task = bench.create("one", &["exit-after-ms", "700", "3"], &silent_of_execs()).await.unwrap();
    task.start().await.unwrap();
    exec(&task, "x", &["sleep"]).await;
    task.wait().await.unwrap();
    bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    let told = ["create", "start", "added x", "started x", "exit x 137", "exit  3"];
    assert_eq!(steps(&bench.events()), told, "the shim was asked");
    task.delete().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_exec_that_is_being_deleted_say_what_the_answer_to_that_says() {
    let bench = Bench::new().await;
    let (calls, go_on) = (bench.dirs.path().join("calls"), bench.dirs.path().join("go-on"));
    let held = Act::AwaitFile(go_on.clone());
    let script = silent_of_execs().calls(&calls).on_nth(Method::Delete, 1, When::After, held);
    let task = bench.create("one", &["sleep"], &script).await.unwrap();
    task.start().await.unwrap();
    let exec = exec(&task, "x", &["exit", "4"]).await;
    let asked = |method| {
        let calls = Received::read_all(&calls).unwrap();
        calls.iter().filter(|call| call.method == method && call.exec_id == "x").count()
    };
    while exec.state().await.unwrap().status != Status::Stopped {}
    let meanwhile = async {
        until(|| asked(Method::Delete) == 1).await;
        let before = asked(Method::State);
        task.kill(9, false).await.unwrap();
        // Because its init has ended. The shim has deleted it by then, and does not know it any more.
        until(|| asked(Method::State) > before).await;
        std::fs::write(&go_on, "").unwrap();
    };
    let (deleted, ()) = tokio::join!(exec.delete(), meanwhile);
    assert_eq!(deleted.unwrap().status, 4);
    bench.event(|seen| seen.is_exit_of(&ProcessKey::Init)).await;
    let told = ["create", "start", "added x", "started x", "exit x 4", "exit  137"];
    assert_eq!(steps(&bench.events()), told);
    task.delete().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_exec_come_before_the_end_of_its_init_however_long_a_dead_shim_is_cleared_up() {
    let dirs = TestDirs::new();
    // Nothing is known of what it left before its action has run, which takes longer than a shim is given for an event.
    let mut deadlines = Deadlines::default();
    deadlines.reap = Duration::from_millis(1500);
    let manager = Manager::open(config(&dirs).bypass_kill(false).deadlines(deadlines)).await.unwrap();
    let bench = Bench::of(dirs, manager);
    let script = silent_of_execs().delete([DeleteAct::Hang, DeleteAct::Hang, DeleteAct::Ok]);
    let task = bench.create("one", &["exit-after-ms", "700", "3"], &script).await.unwrap();
    task.start().await.unwrap();
    exec(&task, "x", &["sleep"]).await;
    task.wait().await.unwrap();
    kill_shim(&task);
    bench.gone(&task).await;
    let told = steps(&bench.events());
    assert_eq!(told[4..], ["exit x 137", "exit  3", "delete"], "{told:?}");
    bench.is_clean();
}
