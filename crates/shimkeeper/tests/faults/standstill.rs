// SPDX-License-Identifier: Apache-2.0
//! A process somewhere on the machine whose environment cannot be read: whoever tries waits for as long as it likes. Nobody
//! is held up by it who can be told from it, and what cannot be told is not taken for dead.
//!
//! All managers here have one thread: had it to wait, nothing would come to its end.

use std::path::Path;
use std::time::{Duration, Instant};

use shimkeeper::{Manager, Verdict};
use shimkeeper_core::Incarnation;
use shimkeeper_proto::containerd::task::v3::ConnectResponse;
use shimkeeper_shim::{BootId, Findings, Launch, ProcessIdentity, find_by_mark};
use shimkeeper_testkit::{Method, Script, Standstill, StartStep, TestDirs, When};

use crate::bench::{Bench, config, end, key, kill_shim, until};
use crate::hostile::answer;

const MARK: &str = "SHIMKEEPER_LAUNCH";
const TASKS: &str = "io.containerd.runtime.v2.task";

/// Longer than anything here takes on a busy machine, though not for ever: one process is waited for once.
const BOUND: Duration = Duration::from_secs(10);

fn identity(pid: u32) -> ProcessIdentity {
    ProcessIdentity::of(pid).unwrap().unwrap()
}

/// One that carries this mark, and works in a directory.
fn standstill(mark: Incarnation, dir: &Path) -> Standstill {
    Standstill::new((MARK, &mark.to_string()), dir).expect("there is FUSE here, and we are root")
}

async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = future.await;
    assert!(began.elapsed() < BOUND, "{what} took {:?}", began.elapsed());
    done
}

#[tokio::test]
async fn real_one_that_may_be_of_a_launch_is_unknown_and_waited_for_once() {
    let dirs = TestDirs::new();
    let launch = Launch::now(Incarnation::fresh());
    let still = standstill(launch.mark, dirs.path());
    let mut sleeper = std::process::Command::new("sleep");
    let mut sleeper = sleeper.arg("600").env(MARK, launch.mark.to_string()).spawn().unwrap();
    let expected = Findings { found: vec![identity(sleeper.id())], unknown: vec![identity(still.pid())] };
    // The sleeper has its environment once it is executed.
    until(|| find_by_mark(&launch, &[]).unwrap() == expected).await;
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(find_by_mark(&launch, &[]).unwrap(), expected);
    }
    assert!(began.elapsed() < Duration::from_secs(1) * 10, "it was waited for again: {:?}", began.elapsed());
    let since = identity(sleeper.id()).start_time + 1;
    assert_eq!(
        find_by_mark(&Launch { since, ..launch }, &[]).unwrap(),
        Findings::default(),
        "they were there before"
    );
    drop(still);
    until(|| find_by_mark(&launch, &[]).unwrap().unknown.is_empty()).await;
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[tokio::test]
async fn real_who_was_there_before_holds_nobody_up() {
    let bench = Bench::new().await;
    let still = standstill(Incarnation::fresh(), bench.dirs.path());

    let script = Script::new().start([StartStep::Print(b"no address"[..].into())]);
    let failed = bounded("a launch that fails", bench.create("one", &["sleep"], &script)).await;
    assert!(failed.is_err());
    bounded("undoing it", async { until(|| bench.manager.list().is_empty()).await }).await;

    // Its shim says that it is the one that stands still.
    let claim = ConnectResponse { shim_pid: still.pid(), ..ConnectResponse::default() };
    let lying = Script::new().on_nth(Method::Connect, 1, When::Before, answer(1, &claim));
    let task = bounded("a launch", bench.create("one", &["sleep"], &lying)).await.unwrap();
    assert_ne!(task.shim_pid(), Some(still.pid()));
    task.start().await.unwrap();
    bounded("its end", end(&task)).await;

    let task = bounded("another launch", bench.honest("one", &["sleep"])).await;
    task.start().await.unwrap();
    kill_shim(&task);
    bounded("its end by the death of its shim", task.wait()).await.unwrap();
    // The fake shim's `delete` looks at all processes, as no real one does.
    drop(still);
    bench.gone_or_unheard(&task).await;
    bench.is_clean();
}

/// A bundle in which a shim may have been launched, by a manager that is gone.
fn half_made(dirs: &TestDirs, id: &str, launch: &Launch) {
    let bundle = dirs.state().join(TASKS).join("ns").join(id);
    std::fs::create_dir_all(&bundle).unwrap();
    let record = serde_json::json!({
        "version": 2, "incarnation": launch.mark.to_string(), "since": launch.since,
        "boot_id": BootId::current().unwrap(), "stage": "creating", "runtime": "/nonexistent/shim",
        "processes": [{ "exec": "", "pid": 0, "phase": "made", "told": "nothing" }],
    });
    std::fs::write(bundle.join("shimkeeper.json"), format!("{record}\n")).unwrap();
}

#[tokio::test]
async fn real_a_launch_it_may_be_of_waits_for_its_end_and_no_other_does() {
    let dirs = TestDirs::new();
    Manager::open(config(&dirs)).await.unwrap().detach().await;
    let before = Launch::now(Incarnation::fresh());
    let still = standstill(before.mark, dirs.path());
    let after = Launch { mark: Incarnation::fresh(), since: identity(still.pid()).start_time + 1 };
    half_made(&dirs, "before", &before);
    half_made(&dirs, "after", &after);
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let bench = Bench::of(dirs, manager);
    let adoption = bounded("adoption", bench.manager.adopted()).await;
    assert_eq!(adoption.verdict(&key("after")), Some(&Verdict::Leaked));
    let Some(Verdict::Unreachable { reason }) = adoption.verdict(&key("before")) else {
        panic!("{adoption:?}")
    };
    assert!(reason.contains(&format!("process {} cannot be read", still.pid())), "{reason}");
    let task = bounded("a launch", bench.honest("one", &["sleep"])).await;
    task.start().await.unwrap();
    bounded("its end", end(&task)).await;
    drop(still);
    until(|| bench.manager.adoption().verdict(&key("before")) == Some(&Verdict::Leaked)).await;
    bench.is_clean();
}

#[tokio::test]
async fn real_one_in_the_bundle_of_another_manager_keeps_its_task() {
    let dirs = TestDirs::new();
    Manager::open(config(&dirs)).await.unwrap().detach().await;
    let bundle = dirs.state().join(TASKS).join("ns/one");
    std::fs::create_dir_all(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), "{}").unwrap();
    std::fs::write(bundle.join("address"), format!("unix://{}", dirs.socket("gone").display())).unwrap();
    let still = standstill(Incarnation::fresh(), &bundle);
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let adoption = bounded("adoption", manager.adopted()).await;
    let verdict = adoption.verdict(&key("one"));
    assert!(matches!(verdict, Some(Verdict::Unreachable { .. })), "it may be its shim: {verdict:?}");
    assert!(bundle.exists());
    drop(still);
    until(|| !bundle.exists()).await;
    manager.detach().await;
}
