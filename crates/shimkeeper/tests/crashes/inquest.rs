// SPDX-License-Identifier: Apache-2.0
//! After a manager's death: another one opens the directories, and the oracle is asked.

use std::time::{Duration, Instant};

use shimkeeper::events::{Filters, Replayed, Subscription, TaskEvent};
use shimkeeper::{Error, Kind, Manager, Status, Task, TaskKey, Verdict};
use shimkeeper_testkit::TestDirs;
use shimkeeper_testkit::oracle::{self, Inits, Seen};

use crate::belief::{Belief, Known, Stage, end as end_of};
use crate::site::{Command, Site, key};
use crate::victim::PATIENCE;

/// The tasks that are listed, the pids of their inits, and how they are.
type Snapshot = Vec<(TaskKey, Option<u32>, Status)>;

/// What is so in the end, or a failure that says what was not.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    within(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Whatever the manager before was doing, nothing is lost, killed or left, and the id can be used again.
pub(crate) async fn hold(dirs: &TestDirs, site: &Site, belief: &mut Belief) {
    let (manager, events) = open(site).await;
    what_ran_runs(&manager, belief).await;
    let found = lasting(belief, snapshot(&manager, dirs).await);
    read(events, manager, belief).await;

    // I9.
    let (manager, mut events) = open(site).await;
    let again = lasting(belief, snapshot(&manager, dirs).await);
    assert_eq!(again, found, "another restart finds the same; {:#?}", belief.said);
    for task in manager.list() {
        end(&task, belief).await;
    }
    let mut left = oracle::leftovers(dirs);
    let gone = async {
        while !left.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            left = oracle::leftovers(dirs);
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.unwrap_or_else(|_| panic!("left behind:\n{left}\n{:#?}", belief.said));
    take_in(&mut events, belief);
    let last = id_is_free(&manager, site).await;
    every_end_is_kept(&manager, last, belief).await;
    read(events, manager, belief).await;
    belief.lives.all_over().unwrap();
    oracle::nothing_left(dirs, &[]);
}

/// All but the canary goes; it is ended last, and had its whole life.
pub(crate) async fn after_the_storm(dirs: &TestDirs, site: &Site, belief: &mut Belief, canary: &str) {
    let (manager, mut events) = open(site).await;
    let canary = manager.get(&key(canary)).unwrap();
    within("the canary answers", async {
        while !canary.state().await.is_ok_and(|state| state.status == Status::Running) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    within("every task can be ended", async {
        while let Some(task) = manager.list().first() {
            // What is quarantined, or being cleared up, answers later.
            let _ = task.kill(9, true).await;
            let _ = task.delete().await;
        }
    })
    .await;
    let deadline = Instant::now() + PATIENCE;
    let mut left = oracle::leftovers(dirs);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "left behind:\n{left}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        left = oracle::leftovers(dirs);
    }
    take_in(&mut events, belief);
    id_is_free(&manager, site).await;
    read(events, manager, belief).await;
    belief.lives.all_over().unwrap();
    oracle::nothing_left(dirs, &[]);
}

async fn open(site: &Site) -> (Manager, Subscription) {
    let opened = Manager::open_with_events(site.config(), Filters::everything()).await.unwrap();
    within("adoption", opened.0.adopted()).await;
    opened
}

/// I4: whose end nobody has asked for lives, and is found again.
async fn what_ran_runs(manager: &Manager, belief: &Belief) {
    for (id, init) in belief.must_live() {
        let adoption = manager.adoption();
        assert!(init.lives(), "the init of {id} is dead; {:#?}; {:?}", belief.said, adoption.verdicts);
        let task = manager.get(&key(id)).unwrap_or_else(|e| panic!("{e}; {:#?}", belief.said));
        assert_eq!(task.pid(), Some(init.pid()), "{:#?}", belief.said);
        let verdict = manager.adoption().verdict(&key(id)).cloned();
        assert_eq!(verdict, Some(Verdict::Adopted), "{:#?}", belief.said);
        let status = task.state().await.unwrap().status;
        let expected = if belief.tasks[id].stage == Stage::Made { Status::Created } else { Status::Running };
        assert_eq!(status, expected, "{id}; {:#?}", belief.said);
    }
    for (id, _) in belief.tasks.iter().filter(|(_, known)| known.stage == Stage::Starting) {
        manager.get(&key(id)).unwrap_or_else(|e| panic!("{e}; {:#?}", belief.said));
    }
}

/// What another restart has to find too. What was asked of a shim goes on in it, a start as well as an end: such a task may
/// have got further.
fn lasting(belief: &Belief, found: Snapshot) -> Vec<(TaskKey, Option<u32>, Option<Status>)> {
    let goes_on = |task: &Known| matches!(task.stage, Stage::Starting | Stage::Ending);
    let lasting = |(key, pid, status): (TaskKey, _, _)| {
        let status = (!belief.tasks.get(key.id.as_str()).is_some_and(goes_on)).then_some(status);
        (key, pid, status)
    };
    found.into_iter().map(lasting).collect()
}

/// What is listed once those that are over have gone, and I3: nothing else runs.
async fn snapshot(manager: &Manager, dirs: &TestDirs) -> Snapshot {
    for (key, verdict) in manager.adoption().verdicts {
        if matches!(verdict, Verdict::Leaked | Verdict::Dead) {
            within(&format!("the end of {key}, which is {verdict}"), manager.freed(&key)).await;
        }
    }
    let listed: Vec<String> =
        manager.list().iter().map(|task| format!("{}.{}", task.key().namespace, task.key().id)).collect();
    until("what is not listed ends", || Inits::of(dirs).0.keys().all(|name| listed.contains(name))).await;
    // One whose shim was just asked to leave, or had been asked to delete it, goes while it is looked at.
    let ends = Instant::now() + PATIENCE;
    loop {
        let asked = manager.list();
        match states_of(&asked).await {
            Ok(found) if manager.list().len() == asked.len() => return found,
            Err(error) if Instant::now() > ends => panic!("neither answers nor goes: {error}"),
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

async fn states_of(tasks: &[Task]) -> Result<Snapshot, Error> {
    let mut states = Vec::with_capacity(tasks.len());
    for task in tasks {
        let state = task.state().await?;
        states.push((task.key().clone(), task.pid(), state.status));
    }
    Ok(states)
}

/// Ends a task that is still there, and shows that its exit is the one that was told before.
async fn end(task: &Task, belief: &Belief) {
    let status = task.state().await.map_or(Status::Stopped, |state| state.status);
    if status == Status::Created {
        match within("the deletion", task.delete()).await {
            // A start that was under way when the manager was killed went on in the shim, and has happened meanwhile.
            Err(error) if error.kind() == Kind::FailedPrecondition => {}
            Err(error) => panic!("{error}; {:#?}", belief.said),
            Ok(_) => return,
        }
    }
    if status != Status::Stopped {
        task.kill(9, true).await.unwrap();
    }
    let exit = within("the exit", task.wait()).await.unwrap();
    let told = belief.tasks.get(task.key().id.as_str()).and_then(|known| known.status);
    assert!(told.is_none_or(|told| told == exit.status), "{exit:?}; {:#?}", belief.said);
    within("the deletion", task.delete()).await.unwrap_or_else(|e| panic!("{e}; {:#?}", belief.said));
}

/// I6.
async fn id_is_free(manager: &Manager, site: &Site) -> u32 {
    let task = within("a create", manager.create(site.request("a", Command::Exit(3)))).await.unwrap();
    let pid = task.start().await.unwrap();
    assert_eq!(within("the exit", task.wait()).await.unwrap().status, 3);
    within("the deletion", task.delete()).await.unwrap();
    pid
}

/// Whoever reads by number hears of every end that was told, whichever manager told it and died, and of each once. `last`
/// is the process whose deletion is the last event.
async fn every_end_is_kept(manager: &Manager, last: u32, belief: &Belief) {
    let mut events = manager.events_since(Filters::everything(), Some(0)).await.unwrap();
    let (mut kept, mut is_over) = (Vec::new(), false);
    while !is_over {
        let item = within("the last event", events.next()).await.unwrap().expect("the manager is there");
        let Replayed::Event(event) = item else { continue };
        let Some(seen) = Seen::read(&event) else { continue };
        is_over = matches!(seen.event, TaskEvent::Delete { pid, .. } if pid == last);
        kept.extend(end_of(&seen));
    }
    for end in &belief.ends {
        let times = kept.iter().filter(|kept| *kept == end).count();
        assert_eq!(times, 1, "{end:?} is in the journal; {:#?}", belief.said);
    }
}

fn take_in(events: &mut Subscription, belief: &mut Belief) {
    while let Some(envelope) = events.try_next().unwrap() {
        if let Some(seen) = Seen::read(&envelope) {
            belief.said.push(format!("  {}", oracle::word(&seen.event)));
            belief.see(&seen).unwrap_or_else(|e| panic!("{e}; {:#?}", belief.said));
        }
    }
}

/// Lets a manager leave, and takes in all it published.
async fn read(mut events: Subscription, manager: Manager, belief: &mut Belief) {
    within("the detach", manager.detach()).await;
    take_in(&mut events, belief);
    belief.lives.interrupted();
}
