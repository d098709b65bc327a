// SPDX-License-Identifier: Apache-2.0
//! The world of one seed: its shims, its manager, what clients ask for, and what befalls them.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shimkeeper_core::{Incarnation, TaskKey};
use shimkeeper_proto::containerd::task::v3::{CreateTaskRequest, StartRequest};
use shimkeeper_shim::{
    Address, BootId, BootstrapParams, BundleDraft, BundleSpec, Call, Connection, DialMode, Launch,
    ProcessIdentity, ShimBinary, StateDirs, TaskApi,
};
use shimkeeper_testkit::{Events, FakeShim, Script, TestSpec};
use tokio_util::task::TaskTracker;

use super::{copy, verdict};
use crate::ledger::{Book, Phase};
use crate::record::{Record, RecordFile, Stage};
use crate::scope::Scope;
use crate::{Config, ExecTask, Manager, Task};

/// Things that happen in one life.
const STEPS: u64 = 50;

const PATIENCE: Duration = Duration::from_mins(1);

pub(super) struct World {
    dir: tempfile::TempDir,
    random: Random,
    /// How many managers there were before this one.
    managers: u32,
    kills: usize,
    /// How many execs were asked for.
    execs: u64,
    manager: Option<Manager>,
    bodies: BTreeMap<TaskKey, Body>,
    clients: TaskTracker,
    /// The process that every living shim is.
    alive: ProcessIdentity,
}

/// A shim and the container in it.
struct Body {
    fake: FakeShim,
    /// Whether managers can see that it is dead.
    is_buried: bool,
    /// Whether it was killed: how its processes ended is not known then.
    was_killed: bool,
    /// Whether anybody asked for its end, or it ended by itself.
    may_end: bool,
}

/// A sequence that only the seed decides.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: enough to shuffle with, and no state but the seed.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir_in("/dev/shm");
        let dir = dir.or_else(|_| tempfile::Builder::new().prefix("shimkeeper-").tempdir()).unwrap();
        Self {
            dir,
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            managers: 0,
            kills: 0,
            execs: 0,
            manager: None,
            bodies: BTreeMap::new(),
            clients: TaskTracker::new(),
            alive: ProcessIdentity::of(std::process::id()).unwrap().unwrap(),
        }
    }

    /// From the first shim to the last verdict.
    pub(super) async fn live(mut self) {
        self.plant().await;
        self.open().await;
        for _ in 0..STEPS {
            self.bury();
            self.step().await;
            for _ in 0..self.random.below(30) {
                tokio::task::yield_now().await;
            }
        }
        self.nobody_was_harmed().await;
        self.end().await;
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join(format!("s{}", self.managers))
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join(format!("r{}", self.managers))
    }

    /// A shim with a container, as another manager would have left it.
    async fn plant(&mut self) {
        let key = TaskKey::parse("ns", &format!("t{}", self.bodies.len())).unwrap();
        let kinds = [Events::Normal, Events::None, Events::Reorder, Events::DuplicateExit];
        let events = kinds[usize::try_from(self.random.below(4)).unwrap()];
        let script = Script { lifetime_ms: u64::from(u32::MAX), ..Script::new().events(events) };
        let fake = FakeShim::with_events(script, "ns", Some(self.dir.path().join("events")));
        let at = self.dir.path().join(key.id.as_str());
        std::fs::create_dir(&at).unwrap();
        let params =
            BootstrapParams { api: TaskApi::TtrpcV3, address: Address::unix(fake.bind(&at).unwrap()) };

        let dirs = StateDirs::new(self.state(), self.root()).unwrap();
        dirs.prepare().unwrap();
        let args = [vec!["sleep"], vec!["stubborn"], vec!["exit-after-ms", "4000", "3"]];
        let args = &args[usize::try_from(self.random.below(3)).unwrap()];
        let spec = TestSpec::fake(args).to_bytes();
        let spec = BundleSpec { json: &spec, container_root_host_gid: None };
        let bundle = Arc::new(BundleDraft::create(&dirs, &key, &spec).unwrap().keep());
        params.write(&bundle).unwrap();

        let tasks = TaskTracker::new();
        let dialed = Connection::dial(&params, &key.namespace, DialMode::Existing, &tasks, PATIENCE).await;
        let (connection, call) = (dialed.unwrap(), Call::within(PATIENCE));
        let id = key.id.to_string();
        let create = CreateTaskRequest {
            id: id.clone(),
            bundle: bundle.dir().to_str().unwrap().to_owned(),
            ..CreateTaskRequest::default()
        };
        let mut book = Book { made: true, ..Book::default() };
        book.init.pid = connection.create(&call, &create).await.unwrap().pid;
        if self.random.below(4) > 0 {
            connection.start(&call, &StartRequest { id, exec_id: String::new() }).await.unwrap();
            book.init.phase = Phase::Started;
        }
        connection.close();
        let record = Record {
            launch: Launch::now(Incarnation::fresh()),
            boot_id: BootId::current().unwrap(),
            stage: Stage::Live,
            runtime: ShimBinary::formerly_at(Path::new("/nonexistent/shim")),
            bootstrap: Some(params),
            shim: Some(self.alive),
            shim_is_foreign: true,
            init: None,
            cgroup: None,
            taken_over: false,
            book,
        };
        RecordFile::new(&Scope::default(), bundle, record).update(|_| {}).await.unwrap();
        let may_end = args.len() > 1;
        self.bodies.insert(key, Body { fake, is_buried: false, was_killed: false, may_end });
    }

    async fn open(&mut self) {
        // Its thread would wait in place.
        let config = Config::new(self.state(), self.root()).overlap_grace_period(false);
        let manager = Manager::open(config).await.unwrap();
        let events = self.dir.path().join("events");
        let _ = std::fs::remove_file(&events);
        symlink(self.state().join("shimkeeper.sock.ttrpc"), events).unwrap();
        self.manager = Some(manager);
        // Whether the one before noted the death down, or this one has what it noted, is for the seed to decide.
        self.bodies.values_mut().for_each(|body| body.is_buried = false);
    }

    /// The manager leaves, and the next one opens the same directories.
    async fn leave(&mut self) {
        self.manager.take().unwrap().detach().await;
        if self.bodies.len() < 6 {
            self.plant().await;
        }
        self.open().await;
    }

    /// The manager is killed as it is.
    async fn kill(&mut self) {
        let (state, root) = (self.state(), self.root());
        self.managers += 1;
        self.kills += 1;
        copy::copy(&state, &self.state());
        copy::copy(&root, &self.root());
        self.manager = None;
        self.open().await;
    }

    fn task(&self, key: &TaskKey) -> Option<Task> {
        self.manager.as_ref()?.get(key).ok()
    }

    /// Shows the manager which shims are dead. A shim that was told to shut down is, too.
    fn bury(&mut self) {
        let dead = ProcessIdentity { start_time: self.alive.start_time + 1, ..self.alive };
        let dying: Vec<_> =
            self.bodies.iter().filter(|(_, body)| body.fake.is_gone() && !body.is_buried).collect();
        let dying: Vec<_> = dying.into_iter().map(|(key, _)| key.clone()).collect();
        for key in dying {
            let Some(task) = self.task(&key) else { continue };
            task.shim.set_foreign(dead);
            let record = task.shim.record.clone();
            self.clients.spawn(async move { record.update(move |record| record.shim = Some(dead)).await });
            self.bodies.get_mut(&key).unwrap().is_buried = true;
        }
    }

    async fn step(&mut self) {
        let keys: Vec<_> = self.bodies.keys().cloned().collect();
        let key = keys[usize::try_from(self.random.below(keys.len() as u64)).unwrap()].clone();
        let number = self.random.below(4);
        match (self.random.below(16), self.task(&key)) {
            (0, _) => self.ends(&key, |fake, id| fake.end_process(id, "", 7)),
            (1, Some(task)) => {
                self.ends(&key, |_, _| true);
                let signal = if number == 0 { 15 } else { 9 };
                self.clients.spawn(async move { drop(task.kill(signal, false).await) });
            }
            (2 | 3, Some(task)) => {
                // Never twice: what a manager that is killed tells again could not be told from what is new.
                self.execs += 1;
                let exec = format!("x{}", self.execs);
                let args = if number == 0 { vec!["sleep"] } else { vec!["exit-after-ms", "700", "4"] };
                let process = TestSpec::fake(["sleep"]).process(args);
                self.clients.spawn(async move {
                    if let Ok(exec) = task.exec(ExecTask::new(exec.parse().unwrap(), process)).await {
                        let _ = exec.start().await;
                    }
                });
            }
            (4, _) => {
                let exec = self.some_exec();
                self.bodies[&key].fake.end_process(key.id.as_str(), &exec, 5);
            }
            (5, Some(task)) => {
                let exec = self.some_exec();
                self.clients.spawn(async move {
                    if let Ok(process) = task.process(&exec.parse().unwrap()) {
                        let _ = process.delete().await;
                    }
                });
            }
            (6, Some(task)) => {
                self.ends(&key, |_, _| true);
                self.clients.spawn(async move { drop(task.delete().await) });
            }
            (7, Some(task)) => {
                if let Some(connection) = task.shim.last_connection() {
                    connection.close();
                }
            }
            (8, _) if number == 0 => {
                self.ends(&key, |_, _| true);
                let body = self.bodies.get_mut(&key).unwrap();
                body.was_killed = true;
                body.fake.die();
            }
            (9, _) => self.leave().await,
            (10, _) => self.kill().await,
            (11, Some(task)) => {
                let patience = Duration::from_millis(self.random.below(500));
                self.clients.spawn(async move { drop(tokio::time::timeout(patience, task.wait()).await) });
            }
            _ => tokio::time::sleep(Duration::from_millis(self.random.below(3000))).await,
        }
    }

    /// The id of one of the latest execs, whosever it is.
    fn some_exec(&mut self) -> String {
        format!("x{}", self.execs.saturating_sub(self.random.below(4)))
    }

    fn ends(&mut self, key: &TaskKey, f: impl FnOnce(&FakeShim, &str) -> bool) {
        let body = self.bodies.get_mut(key).unwrap();
        body.may_end |= f(&body.fake, key.id.as_str());
    }

    /// Whose end nobody asked for is there, and the manager has it.
    async fn nobody_was_harmed(&mut self) {
        let manager = self.manager.as_ref().unwrap();
        manager.adopted().await;
        for (key, body) in self.bodies.iter().filter(|(_, body)| !body.may_end) {
            assert!(!body.fake.is_gone(), "{key}: its shim was ended, and nobody asked for it");
            let ended =
                body.fake.events().iter().any(|event| event.topic == "/tasks/exit" && is_of(event, key));
            assert!(!ended, "{key}: it was ended, and nobody asked for it");
            assert!(manager.get(key).is_ok(), "{key}: it runs, and is not listed");
        }
    }

    /// Everything is deleted, and everything was told.
    async fn end(mut self) {
        for _ in 0..2000 {
            self.bury();
            let tasks = self.manager.as_ref().unwrap().list();
            if tasks.is_empty() {
                break;
            }
            for task in tasks {
                self.clients.spawn(async move {
                    let _ = task.kill(9, false).await;
                    let _ = task.delete().await;
                });
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let manager = self.manager.take().unwrap();
        let left: Vec<_> =
            manager.list().iter().map(|task| format!("{task:?} {:?}", task.health())).collect();
        assert!(left.is_empty(), "cannot be deleted: {left:?}");
        let bundles = StateDirs::new(self.state(), self.root()).unwrap().bundles().unwrap().found;
        assert!(bundles.is_empty(), "left behind: {bundles:?}");

        let told = verdict::told(&manager).await;
        verdict::lives_are_whole(&told, self.kills);
        for (key, body) in self.bodies.iter().filter(|(_, body)| !body.was_killed) {
            verdict::ends_are_true(&told, self.kills, key, &body.fake);
        }
        manager.detach().await;
        self.clients.close();
        self.clients.wait().await;
    }
}

/// Whether an exit is that of the container's own process.
fn is_of(event: &shimkeeper_testkit::Recorded, key: &TaskKey) -> bool {
    use prost::Message as _;
    let exit = shimkeeper_proto::containerd::events::TaskExit::decode(event.event.value.clone()).unwrap();
    exit.id == key.id.as_str()
}
