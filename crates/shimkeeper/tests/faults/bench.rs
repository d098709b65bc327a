// SPDX-License-Identifier: Apache-2.0
//! What every case stands on: a manager of private directories, and tasks on a fake shim with a script of their own.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use shimkeeper::events::{Filters, Subscription, TaskEvent};
use shimkeeper::{Config, CreateTask, Deadlines, Error, ExecTask, Kind, Manager, Process, Task, TaskKey};
pub(crate) use shimkeeper_core::chain;
use shimkeeper_testkit::{SOCKET_DIR_ENV, Script, TestDirs, TestSpec, fake_shim_binary};

use crate::oracle::{self, Seen};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A deadline for what a script makes hang. Long enough for what is honest on a busy machine is not asked of it:
/// only the call that hangs has it.
pub(crate) const SHORT: Duration = Duration::from_millis(500);

/// A manager, its directories, and everything it published.
pub(crate) struct Bench {
    pub(crate) dirs: TestDirs,
    pub(crate) manager: Manager,
    record: Mutex<EventRecord>,
}

struct EventRecord {
    from: Subscription,
    seen: Vec<Seen>,
}

impl Bench {
    /// A manager with the usual deadlines.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A manager with deadlines of the test's choice.
    pub(crate) async fn with(change: impl FnOnce(&mut Deadlines)) -> Self {
        let mut deadlines = Deadlines::default();
        change(&mut deadlines);
        let dirs = TestDirs::new();
        let manager = Manager::open(config(&dirs).deadlines(deadlines)).await.unwrap();
        Self::of(dirs, manager)
    }

    pub(crate) fn of(dirs: TestDirs, manager: Manager) -> Self {
        let from = manager.events(Filters::everything()).unwrap();
        Self { dirs, manager, record: Mutex::new(EventRecord { from, seen: Vec::new() }) }
    }

    /// Makes a task on a shim with this script.
    pub(crate) async fn create(&self, id: &str, args: &[&str], script: &Script) -> Result<Task, Error> {
        self.manager.create(request(id, args, script)).await
    }

    /// Makes a task on an honest shim.
    pub(crate) async fn honest(&self, id: &str, args: &[&str]) -> Task {
        self.create(id, args, &Script::new()).await.unwrap()
    }

    /// Expects that a task cannot be made: a text about `needle`, of this kind; and that nothing is left of it.
    pub(crate) async fn refused(&self, script: &Script, kind: Kind, needle: &str) -> Error {
        let error = self.create("one", &["sleep"], script).await.expect_err("this shim cannot be used");
        assert_eq!(error.kind(), kind, "{}", chain(&error));
        assert!(chain(&error).contains(needle), "{needle:?} is not in: {}", chain(&error));
        oracle::refusal(&error);
        self.is_clean();
        self.id_is_free().await;
        error
    }

    /// The id of [`Bench::refused`] can be used at once: a whole honest life.
    pub(crate) async fn id_is_free(&self) {
        let task = self.honest("one", &["exit", "3"]).await;
        task.start().await.unwrap();
        assert_eq!(task.wait().await.unwrap().status, 3);
        assert_eq!(task.delete().await.unwrap().status, 3);
        self.is_clean();
    }

    /// The id can be used once what goes on in the background with it is done.
    pub(crate) async fn id_becomes_free(&self) {
        let becoming = async {
            loop {
                match self.create("one", &["sleep"], &Script::new()).await {
                    Err(error) if error.kind() == Kind::AlreadyExists => tokio::task::yield_now().await,
                    made => return made.unwrap(),
                }
            }
        };
        let task = tokio::time::timeout(PATIENCE, becoming).await.expect("the id becomes free");
        task.delete().await.unwrap();
    }

    /// Nothing is left of any task, and what was published is complete and in order.
    pub(crate) fn is_clean(&self) {
        oracle::nothing_left(&self.dirs);
        assert!(self.manager.list().is_empty(), "{:?}", self.manager.list());
        oracle::complete(&self.events());
    }

    /// Waits until what goes on in the background is done: nothing of any task is left.
    pub(crate) async fn idle(&self) {
        until(|| oracle::leftovers(&self.dirs).is_empty()).await;
    }

    /// Everything published so far.
    pub(crate) fn events(&self) -> Vec<Seen> {
        let mut record = self.record.lock().unwrap();
        while let Some(envelope) = record.from.try_next().unwrap() {
            record.seen.extend(Seen::read(&envelope));
        }
        record.seen.clone()
    }

    /// Waits for an event.
    pub(crate) async fn event(&self, mut wanted: impl FnMut(&Seen) -> bool) -> Seen {
        let coming = async {
            loop {
                if let Some(seen) = self.events().into_iter().find(&mut wanted) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, coming).await;
        seen.unwrap_or_else(|_| panic!("the event did not come; these did: {:#?}", self.events()))
    }

    /// Waits until the manager knows no task of this id any more.
    pub(crate) async fn gone(&self, task: &Task) {
        let key = task.key().clone();
        self.event(|seen| seen.key == key && matches!(seen.event, TaskEvent::Delete { .. })).await;
        self.gone_or_unheard(task).await;
    }

    /// Waits until nothing of the task is left, whether or not its shim lived to tell of it.
    pub(crate) async fn gone_or_unheard(&self, task: &Task) {
        // The end is public before the bundle is gone; a create waits for the id, so this does too.
        until(|| self.manager.get(task.key()).is_err() && !task.bundle().exists()).await;
        self.idle().await;
    }
}

/// A configuration for the fake shim, with its sockets where the oracle looks for them.
pub(crate) fn config(dirs: &TestDirs) -> Config {
    let bin = fake_shim_binary().parent().unwrap().to_owned();
    Config::new(dirs.state(), dirs.root()).search_path(vec![bin]).env(SOCKET_DIR_ENV, dirs.sockets())
}

pub(crate) fn key(id: &str) -> TaskKey {
    TaskKey::parse("ns", id).unwrap()
}

/// A task on a fake shim.
pub(crate) fn request(id: &str, args: &[&str], script: &Script) -> CreateTask {
    let spec = TestSpec::fake(args).script(script).to_bytes();
    CreateTask::new(key(id), spec).runtime("io.containerd.fake.v2")
}

/// An exec in a task on a fake shim.
pub(crate) fn exec_request(id: &str, args: &[&str]) -> ExecTask {
    ExecTask::new(id.parse().unwrap(), TestSpec::fake(["sleep"]).process(args))
}

/// Adds an exec and starts it.
pub(crate) async fn exec(task: &Task, id: &str, args: &[&str]) -> Process {
    let process = task.exec(exec_request(id, args)).await.unwrap();
    process.start().await.unwrap();
    process
}

/// Sends a signal to a process from outside, as an administrator would.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Kills the shim of a task.
pub(crate) fn kill_shim(task: &Task) {
    signal(task.shim_pid().expect("an honest shim names its process"), Signal::KILL);
}

/// Whether a process lives.
pub(crate) fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !matches!(stat.rsplit(')').next().unwrap().trim().chars().next(), Some('Z' | 'X')))
}

/// Waits until something is so.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let becoming = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, becoming).await.expect("it becomes so in time");
}

/// Ends a task that runs.
pub(crate) async fn end(task: &Task) {
    task.kill(9, true).await.unwrap();
    task.wait().await.unwrap();
    task.delete().await.unwrap();
}
