// SPDX-License-Identifier: Apache-2.0
//! What a manager makes of what another left in its directories: everything back, nothing killed on doubt, every exit
//! true and announced once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "adoption/asked.rs"]
mod asked;
#[path = "adoption/half_deleted.rs"]
mod half_deleted;
#[path = "adoption/journal.rs"]
mod journal;
#[path = "adoption/keeper.rs"]
mod keeper;
#[path = "adoption/panic.rs"]
mod panic;
#[path = "adoption/untrue.rs"]
mod untrue;
#[path = "adoption/waiting.rs"]
mod waiting;

use std::time::Duration;

use keeper::{Keeper, config, create, key, running};
use rustix::process::{Pid, Signal, kill_process};
use shimkeeper::events::{Filters, Subscription, TaskEvent};
use shimkeeper::{Kind, Manager, Provenance, Status, Task, Verdict};
use shimkeeper_proto::containerd::task::v3::WaitRequest;
use shimkeeper_shim::{BootstrapParams, Call, Connection, DialMode};
use shimkeeper_testkit::{Act, Method, Script, TestDirs, When, stop_process};
use tokio_util::task::TaskTracker;

/// Nothing here should take a tenth of it.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

async fn reopen(dirs: &TestDirs) -> (Manager, Subscription) {
    let opened = Manager::open_with_events(config(dirs), Filters::everything()).await.unwrap();
    within("adoption", opened.0.adopted()).await;
    opened
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

async fn gone(pid: u32) {
    within("the process's end", async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() && !is_zombie(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until a task's shim knows that its init has ended, which is a while after that.
async fn ended_for_its_shim(task: &Task) {
    let address = std::fs::read(task.bundle().join("bootstrap.json")).unwrap();
    let (params, tasks) = (BootstrapParams::parse(&address).unwrap(), TaskTracker::new());
    let namespace = &task.key().namespace;
    let dialed = Connection::dial(&params, namespace, DialMode::Existing, &tasks, PATIENCE).await;
    let request = WaitRequest { id: task.key().id.to_string(), ..WaitRequest::default() };
    dialed.unwrap().wait(&Call::within(PATIENCE), &request).await.unwrap();
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// The task of the directories is adopted with this init; then ends it.
async fn it_is_back(dirs: &TestDirs, pid: u32) {
    let (manager, _events) = reopen(dirs).await;
    assert_eq!(manager.adoption().verdict(&key("a")), Some(&Verdict::Adopted));
    let task = manager.get(&key("a")).unwrap();
    assert_eq!(task.pid(), Some(pid));
    clear(manager, dirs, &task).await;
}

/// Ends a task and shows that nothing of it is left.
async fn clear(manager: Manager, dirs: &TestDirs, task: &Task) {
    if task.state().await.is_ok_and(|state| state.status != Status::Stopped) {
        task.kill(9, true).await.unwrap();
    }
    within("the exit", task.wait()).await.unwrap();
    within("the deletion", task.delete()).await.unwrap();
    nothing_left(manager, dirs).await;
}

async fn nothing_left(manager: Manager, dirs: &TestDirs) {
    assert!(manager.list().is_empty());
    within("the detach", manager.detach()).await;
    within("quiet", dirs.idle(PATIENCE)).await.unwrap();
    let left = dirs.leftovers();
    assert!(left.is_empty(), "{left}");
}

/// The exits announced so far, as (exec or empty, status).
fn exits(events: &mut Subscription) -> Vec<(String, u32)> {
    let mut exits = Vec::new();
    while let Some(event) = events.try_next().unwrap() {
        if let Ok(Some((_, TaskEvent::Exit { process, status, .. }))) = TaskEvent::decode(&event) {
            exits.push((process.exec_id().to_owned(), status));
        }
    }
    exits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_task_is_back_and_its_exit_is_true() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let pid = create(&manager, "a", ["stubborn"]).await.start().await.unwrap();
    manager.detach().await;

    let (manager, mut events) = reopen(&dirs).await;
    assert_eq!(manager.adoption().verdict(&key("a")), Some(&Verdict::Adopted));
    let task = manager.get(&key("a")).unwrap();
    assert_eq!((task.pid(), task.state().await.unwrap().status), (Some(pid), Status::Running));
    assert_eq!(task.start().await.unwrap_err().kind(), Kind::FailedPrecondition, "it was started before");
    task.kill(9, false).await.unwrap();
    let exit = within("the exit", task.wait()).await.unwrap();
    assert_eq!((exit.pid, exit.status, exit.provenance), (pid, 137, Provenance::Observed));
    within("the deletion", task.delete()).await.unwrap();
    assert_eq!(exits(&mut events), [(String::new(), 137)]);
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_finds_its_tasks_again() {
    let dirs = TestDirs::new();
    let keeper = Keeper::start(&dirs, "start", &Script::new()).await;
    let pid = keeper.pid_of_task();
    keeper.kill();

    it_is_back(&dirs, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_while_away_is_kept_and_announced_once() {
    let dirs = TestDirs::new();
    let (manager, task, pid) = running(&dirs).await;
    manager.detach().await;
    signal(pid, Signal::TERM);
    ended_for_its_shim(&task).await;

    let (manager, mut events) = reopen(&dirs).await;
    assert_eq!(manager.adoption().verdict(&key("a")), Some(&Verdict::EndedWhileAway));
    let task = manager.get(&key("a")).unwrap();
    let exit = within("the exit", task.wait()).await.unwrap();
    assert_eq!((exit.pid, exit.status), (pid, 143));
    // It is asked for its state, unless the event that it could not get rid of comes first.
    assert!(matches!(exit.provenance, Provenance::Recovered | Provenance::Observed), "{exit:?}");
    assert_eq!(exits(&mut events), [(String::new(), 143)]);
    manager.detach().await;

    // Announced is announced: another restart is silent, and still knows.
    let (manager, mut events) = reopen(&dirs).await;
    let task = manager.get(&key("a")).unwrap();
    assert_eq!(task.wait().await.unwrap().status, 143);
    within("the deletion", task.delete()).await.unwrap();
    assert_eq!(exits(&mut events), []);
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_died_while_away_is_cleared_up_and_its_end_announced() {
    let dirs = TestDirs::new();
    let (manager, task, _) = running(&dirs).await;
    let shim = task.shim_pid().unwrap();
    manager.detach().await;
    signal(shim, Signal::KILL);
    gone(shim).await;

    let (manager, mut events) = reopen(&dirs).await;
    assert_eq!(manager.adoption().verdict(&key("a")), Some(&Verdict::Dead));
    within("the clearing up", async {
        while !manager.list().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let task = create(&manager, "a", ["sleep"]).await;
    assert_eq!(exits(&mut events).len(), 1);
    clear(manager, &dirs, &task).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_shim_is_kept_and_comes_back() {
    let dirs = TestDirs::new();
    let (manager, task, pid) = running(&dirs).await;
    let shim = task.shim_pid().unwrap();
    manager.detach().await;
    stop_process(shim);

    let (manager, _events) = reopen(&dirs).await;
    let verdict = manager.adoption().verdict(&key("a")).cloned();
    assert!(matches!(verdict, Some(Verdict::Unreachable { .. })), "{verdict:?}");
    let task = manager.get(&key("a")).unwrap();
    let refused = task.state().await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable, "{refused}");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "nothing is killed on doubt");
    signal(shim, Signal::CONT);
    within("an answer", async {
        while task.state().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    clear(manager, &dirs, &task).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_address_costs_nothing() {
    for damage in ["", "{", r#"{"version":9,"address":"unix:///x","protocol":"ttrpc"}"#, "removed"] {
        let dirs = TestDirs::new();
        let (manager, task, pid) = running(&dirs).await;
        let file = task.bundle().join("bootstrap.json");
        manager.detach().await;
        match damage {
            "removed" => std::fs::remove_file(&file).unwrap(),
            text => std::fs::write(&file, text).unwrap(),
        }
        it_is_back(&dirs, pid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_without_our_record_is_adopted_by_what_it_says_itself() {
    let dirs = TestDirs::new();
    let (manager, task, pid) = running(&dirs).await;
    std::fs::remove_file(task.bundle().join("shimkeeper.json")).unwrap();
    manager.detach().await;

    it_is_back(&dirs, pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_socket_kills_nobody() {
    let dirs = TestDirs::new();
    let (manager, task, pid) = running(&dirs).await;
    let shim = task.shim_pid().unwrap();
    manager.detach().await;
    for socket in std::fs::read_dir(dirs.sockets()).unwrap() {
        std::fs::remove_file(socket.unwrap().path()).unwrap();
    }
    let (manager, _events) = reopen(&dirs).await;
    let verdict = manager.adoption().verdict(&key("a")).cloned();
    assert!(matches!(verdict, Some(Verdict::Unreachable { .. })), "{verdict:?}");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    // What nobody can reach can still be ended by hand, and is cleared up then.
    signal(shim, Signal::KILL);
    within("the clearing up", async {
        while !manager.list().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    nothing_left(manager, &dirs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_cut_short_leaves_nothing() {
    for script in [
        Script::new().start([shimkeeper_testkit::StartStep::Hang]),
        Script::new().on(Method::Connect, When::Before, Act::Hang),
        Script::new().on(Method::Create, When::Before, Act::Hang),
    ] {
        let dirs = TestDirs::new();
        let keeper = Keeper::start(&dirs, "create", &script).await;
        keeper.launched(&dirs).await;
        keeper.kill();
        // The next manager meets a shim that answers everything but is asked nothing of that.
        let (manager, mut events) = reopen(&dirs).await;
        within("the clearing up", async {
            while !manager.list().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(exits(&mut events), [], "{}", script.to_json());
        nothing_left(manager, &dirs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_made_goes_and_what_is_others_stays() {
    let dirs = TestDirs::new();
    Manager::open(config(&dirs)).await.unwrap().detach().await;
    let tasks = dirs.state().join("io.containerd.runtime.v2.task");
    let work = dirs.root().join("io.containerd.runtime.v2.task");
    for dir in [tasks.join("ns/empty"), tasks.join("ns/.gone"), work.join("ns/old"), work.join("ns/.old")] {
        std::fs::create_dir_all(dir).unwrap();
    }
    std::fs::write(tasks.join("ns/a-file"), "mine").unwrap();
    std::fs::write(dirs.state().join("notes"), "mine").unwrap();
    let (manager, _events) = reopen(&dirs).await;
    for gone in [tasks.join("ns/empty"), tasks.join("ns/.gone"), work.join("ns/old"), work.join("ns/.old")] {
        assert!(!gone.exists(), "{}", gone.display());
    }
    assert!(tasks.join("ns/a-file").exists() && dirs.state().join("notes").exists());
    manager.detach().await;
}
