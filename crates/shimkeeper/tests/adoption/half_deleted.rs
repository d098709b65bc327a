// SPDX-License-Identifier: Apache-2.0
//! A shim that lives and has no such task: its manager was killed while it deleted it. The next one completes that.

use std::path::Path;

use rustix::process::Signal;
use shimkeeper::events::{Subscription, TaskEvent};
use shimkeeper::{HealthState, Kind, ProcessKey, Verdict};
use shimkeeper_testkit::{Act, Blob, Emission, Events, Method, Script, TestDirs, When};

use super::keeper::{DELETING, Keeper, key};
use super::{exits, nothing_left, reopen, signal, within};

/// Says that it has been asked to delete, and does so once there is this file.
fn deleting(until: &Path) -> Script {
    let said = Emission {
        namespace: String::new(),
        topic: DELETING.to_owned(),
        type_url: "test.Deleting".to_owned(),
        value: Blob::from(&b""[..]),
    };
    Script::new().on(Method::Delete, When::Before, Act::Emit(said)).on(
        Method::Delete,
        When::Before,
        Act::AwaitFile(until.to_owned()),
    )
}

/// How often the task's deletion was announced, and its exits.
fn story(events: &mut Subscription) -> (usize, Vec<u32>) {
    let (mut deletions, mut statuses) = (0, Vec::new());
    while let Some(event) = events.try_next().unwrap() {
        match TaskEvent::decode(&event) {
            Ok(Some((_, TaskEvent::Delete { process: ProcessKey::Init, .. }))) => deletions += 1,
            Ok(Some((_, TaskEvent::Exit { status, .. }))) => statuses.push(status),
            _ => {}
        }
    }
    (deletions, statuses)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_the_shim_completes_later_is_completed() {
    for tells in [true, false] {
        let dirs = TestDirs::new();
        let go = dirs.path().join("go");
        let events = if tells { Events::Normal } else { Events::None };
        // Without events the keeper is not told either that its shim is at it, but for what is made up.
        let keeper = Keeper::start(&dirs, "delete", &deleting(&go).events(events)).await;
        keeper.kill();

        let (manager, mut events) = reopen(&dirs).await;
        assert_eq!(manager.adoption().verdict(&key("a")), Some(&Verdict::EndedWhileAway), "{tells}");
        let task = manager.get(&key("a")).unwrap();
        std::fs::write(&go, "").unwrap();
        if !tells {
            // Then it is noticed by whoever asks.
            within("the answer", async {
                while task.state().await.is_ok() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        within("the deletion", manager.freed(&key("a"))).await;
        assert_eq!(task.wait().await.unwrap().status, 137);
        let (deletions, statuses) = story(&mut events);
        assert_eq!(deletions, 1, "{tells}");
        // What the killed one announced at the very last may not be on record.
        assert!(matches!(statuses.as_slice(), [] | [137]), "{statuses:?}");
        nothing_left(manager, &dirs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_init_lives_is_kept_until_that_ends() {
    let dirs = TestDirs::new();
    let denies = Script::new().on(Method::State, When::Before, Act::err(5, "no such container"));
    let keeper = Keeper::start(&dirs, "start", &denies).await;
    let pid = keeper.pid_of_task();
    keeper.kill();

    let (manager, mut events) = reopen(&dirs).await;
    let verdict = manager.adoption().verdict(&key("a")).cloned();
    assert!(
        matches!(&verdict, Some(Verdict::Unreachable { reason }) if reason.contains("init is alive")),
        "{verdict:?}"
    );
    let task = manager.get(&key("a")).unwrap();
    let health = task.health();
    assert_eq!(health.state, HealthState::Stuck);
    assert!(health.reason.contains("init is alive"), "{health:?}");
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::Unavailable);
    assert!(Path::new(&format!("/proc/{pid}/exe")).exists(), "it lives on");

    signal(pid, Signal::KILL);
    within("the deletion", manager.freed(&key("a"))).await;
    assert_eq!(exits(&mut events), [(String::new(), 137)]);
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_denies_a_living_task_once_changes_nothing() {
    let dirs = TestDirs::new();
    let denies = Script::new().on_nth(Method::State, 2, When::Before, Act::err(5, "no such container"));
    let keeper = Keeper::start(&dirs, "start", &denies).await;
    let pid = keeper.pid_of_task();
    keeper.kill();

    let (manager, mut events) = reopen(&dirs).await;
    let task = manager.get(&key("a")).unwrap();
    assert_eq!(task.state().await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(task.state().await.unwrap().pid, pid, "and it is there");
    assert_eq!(task.health().state, HealthState::Healthy);
    assert_eq!(exits(&mut events), []);
    super::clear(manager, &dirs, &task).await;
}
