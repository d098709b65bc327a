// SPDX-License-Identifier: Apache-2.0
//! Sandboxes: their whole life, tasks in them, and what is made of shims that die, say nothing, or have none.

use std::time::Duration;

use rustix::process::Signal;
use shimkeeper::events::{Filters, Subscription};
use shimkeeper::{
    CreateSandbox, CreateTask, Kind, Manager, Provenance, Sandbox, SandboxKey, Status, Task, Verdict,
};
use shimkeeper_testkit::{Act, Method, SANDBOX_EXIT, SandboxService, Script, TestDirs, TestSpec, When};

use crate::bench::{Bench, config, end, lives, request, signal, until};
use crate::groups::connections;
use crate::oracle;

fn pod(script: &Script) -> CreateSandbox {
    let spec = TestSpec::fake(["pause"]).script(script).to_bytes();
    CreateSandbox::new(pod_key(), "io.containerd.fake.v2").spec(spec)
}

fn pod_key() -> SandboxKey {
    SandboxKey::parse("ns", "pod").unwrap()
}

async fn started(bench: &Bench, script: &Script) -> Sandbox {
    let sandbox = bench.manager.create_sandbox(pod(script)).await.unwrap();
    sandbox.start().await.unwrap();
    sandbox
}

fn in_pod(id: &str) -> CreateTask {
    request(id, &["stubborn"], &Script::new()).in_sandbox(pod_key().id)
}

async fn running(manager: &Manager, id: &str) -> Task {
    let task = manager.create(in_pod(id)).await.unwrap();
    task.start().await.unwrap();
    task
}

/// What was told of sandboxes: their topics, in order.
fn told(events: &mut Subscription) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(envelope) = events.try_next().unwrap() {
        told.extend(envelope.topic().as_str().strip_prefix("/sandboxes/").map(str::to_owned));
    }
    told
}

fn subscribe(bench: &Bench) -> Subscription {
    bench.manager.events(Filters::everything()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_with_a_task_in_it() {
    let bench = Bench::new().await;
    let mut events = subscribe(&bench);
    let sandbox = bench.manager.create_sandbox(pod(&Script::new())).await.unwrap();
    assert_eq!(told(&mut events), ["create"]);
    let start = sandbox.start().await.unwrap();
    assert!(start.created_at.is_some());
    assert_eq!(sandbox.start().await.unwrap_err().kind(), Kind::FailedPrecondition, "once in its life");
    sandbox.ping().await.unwrap();
    assert_eq!(sandbox.status(false).await.unwrap().state, "SANDBOX_READY");
    assert_eq!(sandbox.platform().await.unwrap().os, "linux");
    assert_eq!(sandbox.metrics().await.unwrap().pids, Some(1));
    assert_eq!(bench.manager.sandboxes().len(), 1);

    let task = running(&bench.manager, "one").await;
    assert_eq!(task.shim_pid(), sandbox.shim_pid());
    assert_eq!(connections(&bench.dirs, &task), 1, "they share it");
    assert_eq!(std::fs::read(task.bundle().join("sandbox")).unwrap(), b"pod");
    let error = sandbox.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    oracle::refusal(&error);
    assert_eq!(task.state().await.unwrap().status, Status::Running);
    end(&task).await;
    assert!(lives(sandbox.shim_pid().unwrap()), "the sandbox stays when its last task leaves");

    let (exit, stopped) = tokio::join!(sandbox.wait(), sandbox.stop(Duration::from_secs(5)));
    stopped.unwrap();
    let exit = exit.unwrap();
    assert_eq!((exit.status, exit.provenance), (0, Provenance::Observed));
    let status = sandbox.status(false).await.unwrap();
    assert_eq!((status.state.as_str(), status.exited_at.is_some()), ("SANDBOX_NOTREADY", true));
    sandbox.stop(Duration::ZERO).await.unwrap();
    assert_eq!(sandbox.shutdown().await.unwrap(), exit);
    assert_eq!(sandbox.shutdown().await.unwrap(), exit, "a late one, too");
    assert_eq!(told(&mut events), ["start", "exit"]);
    assert_eq!(bench.manager.sandbox(&pod_key()).unwrap_err().kind(), Kind::NotFound);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn its_shims_death_ends_it_and_every_task_in_it_once() {
    let bench = Bench::new().await;
    let mut events = subscribe(&bench);
    let sandbox = started(&bench, &Script::new()).await;
    let tasks = [running(&bench.manager, "one").await, running(&bench.manager, "two").await];
    signal(sandbox.shim_pid().unwrap(), Signal::KILL);
    let exit = sandbox.wait().await.unwrap();
    assert_ne!(exit.provenance, Provenance::Observed, "the shim did not say it");
    for task in &tasks {
        task.wait().await.unwrap();
        bench.gone(task).await;
    }
    until(|| bench.manager.sandboxes().is_empty()).await;
    bench.idle().await;
    assert_eq!(told(&mut events), ["create", "start", "exit"]);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_by_itself_has_its_own_status() {
    let bench = Bench::new().await;
    let mut events = subscribe(&bench);
    let request = pod(&Script::new()).annotation(SANDBOX_EXIT, "3");
    let sandbox = bench.manager.create_sandbox(request).await.unwrap();
    sandbox.start().await.unwrap();
    let exit = sandbox.wait().await.unwrap();
    assert_eq!((exit.status, exit.provenance), (3, Provenance::Observed));
    assert_eq!(sandbox.shutdown().await.unwrap(), exit);
    assert_eq!(told(&mut events), ["create", "start", "exit"]);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_without_a_sandbox_does_not_end_it_by_saying_nothing() {
    let bench = Bench::new().await;
    let mut events = subscribe(&bench);
    let sandbox = started(&bench, &Script::new().sandbox(SandboxService::Hollow)).await;
    sandbox.ping().await.unwrap();
    // Its Wait has been answered, at once and with nothing, before this is.
    assert_eq!(sandbox.status(true).await.unwrap().state, "");
    assert_eq!(sandbox.exit(), None);
    end(&running(&bench.manager, "one").await).await;
    assert_eq!(told(&mut events), ["create", "start"]);
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
    assert_eq!(sandbox.wait().await.unwrap().status, 0);
    sandbox.shutdown().await.unwrap();
    assert_eq!(told(&mut events), ["exit"]);
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_leaves_nothing() {
    let bench = Bench::new().await;
    let mut events = subscribe(&bench);
    let absent = Script::new().sandbox(SandboxService::Absent);
    let dies = Script::new().on(Method::CreateSandbox, When::Before, Act::Die);
    let refuses = Script::new().on(Method::CreateSandbox, When::Before, Act::err(9, "no room"));
    for (script, kind) in
        [(absent, Kind::NotImplemented), (dies, Kind::Unavailable), (refuses, Kind::FailedPrecondition)]
    {
        let error = bench.manager.create_sandbox(pod(&script)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        oracle::refusal(&error);
        bench.is_clean();
    }
    assert_eq!(told(&mut events), [""; 0]);
    started(&bench, &Script::new()).await.shutdown().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_that_is_refused_or_not_answered_keeps_it() {
    let bench = Bench::with(|deadlines| deadlines.delete = crate::bench::SHORT).await;
    let script = Script::new().on_nth(Method::ShutdownSandbox, 1, When::Before, Act::err(9, "busy")).on_nth(
        Method::ShutdownSandbox,
        2,
        When::Before,
        Act::Hang,
    );
    let sandbox = started(&bench, &script).await;
    for kind in [Kind::FailedPrecondition, Kind::DeadlineExceeded] {
        assert_eq!(sandbox.shutdown().await.unwrap_err().kind(), kind);
        end(&running(&bench.manager, "one").await).await;
    }
    sandbox.shutdown().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_sandboxes_and_of_tasks_are_different_things() {
    let bench = Bench::new().await;
    let sandbox = started(&bench, &Script::new()).await;
    let task = running(&bench.manager, "pod").await;
    assert_eq!(
        bench.manager.create_sandbox(pod(&Script::new())).await.unwrap_err().kind(),
        Kind::AlreadyExists
    );
    end(&task).await;
    assert!(bench.manager.sandbox(&pod_key()).is_ok());
    sandbox.shutdown().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_joins_by_address_or_is_told_that_there_is_no_sandbox() {
    let bench = Bench::new().await;
    let error = bench.manager.create(in_pod("one")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let sandbox = started(&bench, &Script::new()).await;
    let (endpoint, version) = sandbox.endpoint().unwrap();
    assert!(endpoint.starts_with("ttrpc+unix:///"), "{endpoint}");
    let plain = request("one", &["sleep"], &Script::new());
    let task = bench.manager.create(plain.in_sandbox_at(pod_key().id, endpoint, version)).await.unwrap();
    assert_eq!(task.shim_pid(), sandbox.shim_pid());
    task.delete().await.unwrap();
    sandbox.shutdown().await.unwrap();
    bench.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_adopted_with_its_tasks() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let bench = Bench::of(dirs, manager);
    started(&bench, &Script::new()).await;
    running(&bench.manager, "one").await;
    let Bench { dirs, manager, .. } = bench;
    manager.detach().await;

    let (manager, mut events) =
        Manager::open_with_events(config(&dirs), Filters::everything()).await.unwrap();
    let adoption = manager.adopted().await;
    assert_eq!(adoption.sandboxes, [(pod_key(), Verdict::Adopted)]);
    let sandbox = manager.sandbox(&pod_key()).unwrap();
    assert_eq!(sandbox.start().await.unwrap_err().kind(), Kind::FailedPrecondition, "it was started before");
    let one = manager.list().pop().unwrap();
    until(|| connections(&dirs, &one) == 1).await;
    let two = running(&manager, "two").await;
    for task in [one, two] {
        end(&task).await;
    }
    manager.detach().await;
    assert_eq!(told(&mut events), [""; 0]);

    let (manager, mut events) =
        Manager::open_with_events(config(&dirs), Filters::everything()).await.unwrap();
    manager.adopted().await;
    let sandbox = manager.sandbox(&pod_key()).unwrap();
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
    let exit = sandbox.exit().unwrap();
    manager.detach().await;
    assert_eq!(told(&mut events), ["exit"]);

    let (manager, mut events) =
        Manager::open_with_events(config(&dirs), Filters::everything()).await.unwrap();
    assert_eq!(manager.adopted().await.sandboxes, [(pod_key(), Verdict::EndedWhileAway)]);
    let sandbox = manager.sandbox(&pod_key()).unwrap();
    assert_eq!(sandbox.shutdown().await.unwrap().status, exit.status);
    assert_eq!(told(&mut events), [""; 0], "it was told before");
    oracle::nothing_left(&dirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_died_while_nobody_looked_is_told_once() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let bench = Bench::of(dirs, manager);
    let sandbox = started(&bench, &Script::new()).await;
    let shim = sandbox.shim_pid().unwrap();
    running(&bench.manager, "one").await;
    let Bench { dirs, manager, .. } = bench;
    manager.detach().await;
    signal(shim, Signal::KILL);
    until(|| !lives(shim)).await;

    let (manager, mut events) =
        Manager::open_with_events(config(&dirs), Filters::everything()).await.unwrap();
    let adoption = manager.adopted().await;
    assert_eq!(adoption.sandboxes, [(pod_key(), Verdict::Dead)]);
    until(|| manager.sandboxes().is_empty() && manager.list().is_empty()).await;
    until(|| oracle::leftovers(&dirs).is_empty()).await;
    assert_eq!(told(&mut events), ["exit"]);
}
