// SPDX-License-Identifier: Apache-2.0
//! Task events are kept, with numbers: who was away reads on where it stopped, or is told what is missing.

use std::time::Duration;

use super::keeper::{Keeper, config, create, key};
use shimkeeper::events::{Filters, Replayed, TaskEvent};
use shimkeeper::{EventsSince, Kind, Manager, ProcessKey};
use shimkeeper_testkit::{Script, TestDirs};

const PATIENCE: Duration = Duration::from_secs(30);

async fn read(manager: &Manager, since: u64) -> EventsSince {
    manager.events_since(Filters::everything(), Some(since)).await.unwrap()
}

/// The next event's number and what it says; a gap says `gap`.
async fn next(events: &mut EventsSince) -> (u64, String) {
    let item = tokio::time::timeout(PATIENCE, events.next()).await.expect("something comes");
    match item.unwrap().expect("there is more") {
        Replayed::Gap(gap) => (gap.to, "gap".to_owned()),
        Replayed::Event(event) => {
            let said = match TaskEvent::decode(&event).unwrap().unwrap().1 {
                TaskEvent::Exit { process: ProcessKey::Init, status, .. } => format!("exit {status}"),
                _ => event.topic().to_string().trim_start_matches("/tasks/").to_owned(),
            };
            (event.sequence().unwrap().get(), said)
        }
    }
}

/// Everything up to the task's deletion.
async fn story(events: &mut EventsSince) -> Vec<(u64, String)> {
    let mut story = vec![next(events).await];
    while story.last().unwrap().1 != "delete" {
        story.push(next(events).await);
    }
    story
}

fn told(from: u64, steps: &[&str]) -> Vec<(u64, String)> {
    (from..).zip(steps.iter().map(ToString::to_string)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_resumes_over_an_orderly_leave_without_a_gap() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let task = create(&manager, "a", ["stubborn"]).await;
    task.start().await.unwrap();
    let mut events = read(&manager, 0).await;
    assert_eq!([next(&mut events).await, next(&mut events).await], told(1, &["create", "start"])[..]);
    manager.clone().detach().await;
    assert!(events.next().await.unwrap().is_none(), "the manager has left");
    // A client that asks meanwhile must not take it for gone.
    assert_eq!(manager.get(&key("a")).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(manager.find(&key("a")).await.unwrap_err().kind(), Kind::Unavailable);
    drop(manager);

    let manager = Manager::open(config(&dirs)).await.unwrap();
    let mut resumed = read(&manager, events.position()).await;
    manager.adopted().await;
    let task = manager.get(&key("a")).unwrap();
    task.kill(9, false).await.unwrap();
    task.wait().await.unwrap();
    task.delete().await.unwrap();
    assert_eq!(story(&mut resumed).await, told(3, &["exit 137", "delete"]));
    assert_eq!(
        story(&mut read(&manager, 0).await).await,
        told(1, &["create", "start", "exit 137", "delete"]),
        "and all of it is there for who comes later"
    );
    manager.detach().await;
    dirs.idle(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_manager_leaves_a_gap_and_an_exit_while_away_is_kept_once() {
    let dirs = TestDirs::new();
    let keeper = Keeper::start(&dirs, "start", &Script::new()).await;
    let pid = keeper.pid_of_task();
    keeper.kill();
    let init = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();

    for _ in 0..2 {
        let manager = Manager::open(config(&dirs)).await.unwrap();
        manager.adopted().await;
        manager.detach().await;
    }
    let manager = Manager::open(config(&dirs)).await.unwrap();
    manager.adopted().await;
    let task = manager.get(&key("a")).unwrap();
    // The shim may know later than we could have asked three times.
    task.wait().await.unwrap();
    task.delete().await.unwrap();
    let story = story(&mut read(&manager, 0).await).await;
    let said: Vec<_> = story.iter().map(|(_, said)| said.as_str()).filter(|said| *said != "gap").collect();
    assert_eq!(said.iter().filter(|said| **said == "exit 137").count(), 1, "{story:?}");
    assert!(
        story.iter().any(|(_, said)| said == "gap"),
        "nobody knows what the killed one still had: {story:?}"
    );
    assert!(said.ends_with(&["exit 137", "delete"]), "{story:?}");
    manager.detach().await;
    dirs.idle(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_without_a_journal_says_so() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs).without_journal()).await.unwrap();
    let error = manager.events_since(Filters::everything(), None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.hint().is_some());
    assert!(!dirs.root().join("shimkeeper.events").exists());
    manager.detach().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_back_soon_after_a_restart_is_given_the_exit_that_it_missed() {
    let dirs = TestDirs::new();
    let keeper = Keeper::start(&dirs, "start", &Script::new()).await;
    let pid = keeper.pid_of_task();
    keeper.kill();
    let init = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();

    let manager = Manager::open(config(&dirs)).await.unwrap();
    manager.adopted().await;
    // Nobody subscribed yet when the exit was announced: a client of a daemon needs a moment to be back.
    for _ in 0..2 {
        let mut events = manager.events(Filters::parse(["topic==\"/tasks/exit\""]).unwrap()).unwrap();
        let first = tokio::time::timeout(PATIENCE, events.next()).await.expect("the exit").unwrap().unwrap();
        let told = TaskEvent::decode(&first).unwrap().unwrap().1;
        assert!(matches!(told, TaskEvent::Exit { status: 137, pid: told, .. } if told == pid), "{told:?}");
        assert!(events.try_next().unwrap().is_none(), "and once");
    }
    let mut events = manager.events(Filters::parse(["topic==\"/tasks/delete\""]).unwrap()).unwrap();
    manager.get(&key("a")).unwrap().delete().await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().topic().to_string(), "/tasks/delete");
    manager.detach().await;
    dirs.idle(PATIENCE).await.unwrap();
}
