// SPDX-License-Identifier: Apache-2.0
//! What every case runs on: a manager on directories of its own, with a recorder of its events, and at the end the
//! check that nothing is left of it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Config, CreateTask, Error, ExecTask, Exit, Kind, Manager, Process, Stdio, Task, TaskKey};
use shimkeeper_shim::{Address, BootstrapParams, Bundle, StateDirs};
use shimkeeper_testkit::oracle::{self, Trace};
use shimkeeper_testkit::{TestDirs, deps};

use crate::cell::{Cell, OciRuntime};
use crate::story::Story;

/// SIGKILL and SIGTERM, as the API takes them.
pub(crate) const KILL: u32 = 9;
pub(crate) const TERM: u32 = 15;
/// For one thing that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// For a whole case, on a machine that is busy with others.
const CASE: Duration = Duration::from_mins(2);

/// A case's surroundings.
pub(crate) struct Host {
    pub(crate) manager: Manager,
    pub(crate) story: Story,
    pub(crate) cell: Cell,
    traces: Mutex<Vec<Trace>>,
    pub(crate) dirs: TestDirs,
}

/// Runs a case.
pub(crate) async fn run(cell: Cell, case: impl AsyncFnOnce(&Host)) {
    let host = Host::open(cell).await;
    Box::pin(within(CASE, case(&host))).await;
    host.close().await;
}

/// Fails if it takes longer.
pub(crate) async fn within<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, what).await.unwrap_or_else(|_| panic!("not done within {limit:?}"))
}

impl Host {
    async fn open(cell: Cell) -> Self {
        assert!(rustix::process::geteuid().is_root(), "containers take root");
        require(cell.runtime);
        let dirs = TestDirs::new();
        let config = Config::new(dirs.state(), dirs.root())
            .search_path(vec![deps::shim(cell.generation).parent().unwrap().to_owned()]);
        let manager = Manager::open(config).await.unwrap();
        let story = Story::record(&manager);
        Self { manager, story, cell, traces: Mutex::default(), dirs }
    }

    async fn close(self) {
        assert!(self.manager.list().is_empty(), "the case left {:?}", self.manager.list());
        within(SOON, self.manager.clone().detach()).await;
        within(SOON, self.story.end()).await;
        oracle::nothing_left(&self.dirs, &self.traces.lock().unwrap());
    }

    /// A container on the busybox root file system.
    pub(crate) fn spec<'a>(&self, key: &TaskKey, args: impl IntoIterator<Item = &'a str>) -> ContainerSpec {
        ContainerSpec::new(deps::rootfs(), args)
            .read_only(true)
            // By this the test finds its containers' processes.
            .env(format!("SHIMKEEPER_TEST={}", self.dirs.path().display()))
            .cgroups_path(format!("{}/{}.{}", self.cgroup(), key.namespace, key.id))
    }

    /// The cgroup that those of the containers are in.
    pub(crate) fn cgroup(&self) -> String {
        self.dirs.cgroup()
    }

    /// A task of this cell.
    pub(crate) fn request(&self, key: TaskKey, spec: impl Into<bytes::Bytes>) -> CreateTask {
        CreateTask::new(key, spec).runc(self.cell.runtime.options(self.dirs.path()))
    }

    /// Creates, and remembers what must be gone at the end.
    pub(crate) async fn try_create(&self, request: CreateTask) -> Result<Task, Error> {
        let task = self.manager.create(request).await?;
        self.traces.lock().unwrap().push(trace(&task, &self.dirs));
        Ok(task)
    }

    pub(crate) async fn create<'a>(
        &self,
        id: &str,
        args: impl IntoIterator<Item = &'a str>,
        stdio: Stdio,
    ) -> Task {
        let key = task_key(id);
        let spec = self.spec(&key, args).terminal(matches!(stdio, Stdio::Terminal { .. }));
        let request = self.request(key, spec.to_json().unwrap()).stdio(stdio);
        self.try_create(request).await.unwrap()
    }

    /// A task that runs until it is killed.
    pub(crate) async fn sleeper(&self, id: &str) -> Task {
        let task = self.create(id, ["sleep", "3600"], Stdio::Null).await;
        task.start().await.unwrap();
        task
    }

    /// A task that runs a command of the shell.
    pub(crate) async fn shell(&self, id: &str, command: &str, stdio: Stdio) -> Task {
        let task = self.create(id, ["/bin/sh", "-c", command], stdio).await;
        task.start().await.unwrap();
        task
    }

    /// The socket that a task's shim listens on, or did; `None` where that is no file.
    pub(crate) fn socket_of(&self, task: &Task) -> Option<PathBuf> {
        let traces = self.traces.lock().unwrap();
        traces.iter().find(|trace| trace.mark == task.incarnation().to_string()).unwrap().socket.clone()
    }

    /// Fails unless the task runs on the shim and the runtime it should.
    pub(crate) fn assert_is_of_this_cell(&self, task: &Task) {
        assert_eq!(task.shim_binary(), deps::shim(self.cell.generation));
        let key = task.key();
        let kept = self.dirs.state().join("runc").join(key.namespace.as_str()).join(key.id.as_str());
        assert!(kept.join(self.cell.runtime.state_file()).exists(), "nothing in {}", kept.display());
    }

    /// Fails unless the task is gone, bundle and all.
    pub(crate) fn assert_gone(&self, task: &Task) {
        let error = self.manager.get(task.key()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
        assert!(!task.bundle().exists(), "{} is still there", task.bundle().display());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() && self.dirs.sweep().is_ok() {
            let traces = self.traces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            oracle::sweep(&self.dirs, &traces);
        }
    }
}

/// By what the remains of a task that lives are known.
fn trace(task: &Task, dirs: &TestDirs) -> Trace {
    let dirs = StateDirs::new(dirs.state(), dirs.root()).unwrap();
    let bundle = Bundle::open(&dirs, task.key()).unwrap();
    let socket = match BootstrapParams::read(&bundle).unwrap().address {
        // A shim's socket is not below the manager's directories.
        Address::Unix(path) => Some(path.to_path_buf()),
        _ => None,
    };
    Trace { mark: task.incarnation().to_string(), socket }
}

/// The key of a task, where a case does not need two namespaces.
pub(crate) fn task_key(id: &str) -> TaskKey {
    TaskKey::parse("real", id).unwrap()
}

/// Waits for a task's end, and deletes it.
pub(crate) async fn finish(task: &Task) -> Exit {
    let exit = within(SOON, task.wait()).await.unwrap();
    let deleted = within(SOON, task.delete()).await.unwrap();
    assert_eq!(deleted, exit, "wait and delete tell the same");
    exit
}

/// Kills a task, and does the same.
pub(crate) async fn kill_and_finish(task: &Task) -> Exit {
    task.kill(KILL, false).await.unwrap();
    let exit = finish(task).await;
    assert_eq!(exit.status, 137);
    exit
}

/// Adds a process to a task, and starts it.
pub(crate) async fn exec<'a>(
    task: &Task,
    id: &str,
    args: impl IntoIterator<Item = &'a str>,
    stdio: Stdio,
) -> Process {
    let process = add_exec(task, id, args, stdio).await.unwrap();
    process.start().await.unwrap();
    process
}

/// Adds a process to a task.
pub(crate) async fn add_exec<'a>(
    task: &Task,
    id: &str,
    args: impl IntoIterator<Item = &'a str>,
    stdio: Stdio,
) -> Result<Process, Error> {
    let args: Vec<_> = args.into_iter().collect();
    let terminal = matches!(stdio, Stdio::Terminal { .. });
    let process = serde_json::json!({ "args": args, "cwd": "/", "env": ["PATH=/bin"], "terminal": terminal });
    task.exec(ExecTask::new(id.parse().unwrap(), process.to_string()).stdio(stdio)).await
}

fn require(runtime: OciRuntime) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = runtime.program();
    let is_there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    assert!(is_there, "{program} is not on the search path: see `cargo xtask deps --tests`");
}
