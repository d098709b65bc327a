// SPDX-License-Identifier: Apache-2.0
//! The library's front door: opens directories, makes tasks, finds them again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shimkeeper_core::{Any, SandboxKey, TaskKey};
use shimkeeper_events::{Envelope, Exchange, Filters, Limits, SubscribeError, Subscription};
use shimkeeper_shim::{
    BootId, DialectMemory, Logs, Runtime, RuntimeInfo, SearchPath, StateDirs, elsewhere_or_here,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::adopt::{self, Adoption};
use crate::attaching::Attaching;
use crate::census::Census;
use crate::config::Config;
use crate::create::{self, CreateTask};
use crate::deadlines::{Deadlines, Timing};
use crate::env::Env;
use crate::error::{Cause, Error, Refused, Step};
use crate::events_endpoint::{self, Sender};
use crate::events_since::EventsSince;
use crate::features::Infos;
use crate::group::Groups;
use crate::journaling::Journaling;
use crate::launching;
use crate::lock::Locks;
use crate::machine::{End, State};
use crate::registry::{Entry, Registry};
use crate::role::Role;
use crate::sandbox::{self, CreateSandbox, Sandbox};
use crate::scope::Scope;
use crate::shim::Shim;
use crate::supervisor;
use crate::survey::Survey;
use crate::task::Task;
use crate::trace;
use crate::turns::Turns;

/// Name of the socket for shims' events, below the state directory.
const EVENTS_SOCKET: &str = "shimkeeper.sock.ttrpc";

/// A manager of shims: one per pair of directories. A clone is another handle on the same one.
///
/// It runs on the tokio runtime it was opened on. When the last handle is dropped, or the program ends in whatever
/// way, tasks and shims live on.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    env: Arc<Env>,
    adoption: watch::Receiver<Adoption>,
    /// Tells everything to leave when the last handle goes.
    _leave: DropGuard,
    /// Kept until then: another manager may have the directories once nobody here writes to them.
    _locks: Locks,
}

impl Manager {
    /// Opens a manager on its directories, making them if they are missing.
    ///
    /// # Errors
    /// `FailedPrecondition` if another live manager uses a directory (the error names its process), `InvalidArgument`
    /// if a path cannot be used, or what the file system says.
    ///
    /// # Cancel safety
    /// Yes: what was taken is let go of.
    pub async fn open(config: Config) -> Result<Self, Error> {
        Self::start(config, Exchange::new()).await
    }

    /// Opens a manager as [`Manager::open`] does, with a subscription that misses nothing: the exits that happened
    /// while no manager was there are announced while tasks are adopted, which begins before this returns.
    ///
    /// # Errors
    /// As [`Manager::open`].
    ///
    /// # Cancel safety
    /// Yes: what was taken is let go of.
    pub async fn open_with_events(config: Config, filters: Filters) -> Result<(Self, Subscription), Error> {
        let exchange = Exchange::new();
        let events = exchange.subscribe(filters, Limits::default()).map_err(|e| Error::new(Step::Open, e))?;
        Ok((Self::start(config, exchange).await?, events))
    }

    async fn start(config: Config, exchange: Exchange) -> Result<Self, Error> {
        let (env, locks) = elsewhere_or_here(move || prepare(config, exchange))
            .await
            .map_err(|join| Error::io(Step::Open, "open", PathBuf::new(), std::io::Error::other(join)))??;
        let leave = env.scope.detach_token().clone().drop_guard();
        let endpoint = events_endpoint::listen(&env)?;
        if let Some(journaling) = env.journaling.clone() {
            env.scope.spawn_last(journaling.run(env.scope.clone()));
        }
        env.scope.spawn(supervisor::tell_of_leaving(env.clone()));
        env.scope.spawn(env.logs.clone().run(env.scope.detach_token().clone()));
        env.scope.spawn(events_endpoint::serve(env.clone(), endpoint));
        expect_listeners(&env);
        let adoption = adopt::begin(&env).await?;
        Ok(Self { inner: Arc::new(Inner { env, adoption, _leave: leave, _locks: locks }) })
    }

    /// How far the adoption of what was found in the directories has come.
    pub fn adoption(&self) -> Adoption {
        self.inner.adoption.borrow().clone()
    }

    /// Waits until there is a verdict on everything that was found in the directories.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn adopted(&self) -> Adoption {
        let mut adoption = self.inner.adoption.clone();
        match adoption.wait_for(|adoption| adoption.finished).await {
            Ok(adoption) => adoption.clone(),
            // The manager left first.
            Err(_) => self.adoption(),
        }
    }

    /// Other deadlines for the shims of every runtime that has none of its own ([`Config::deadlines_for`]). They count for
    /// what is asked from now on, also of shims that are there; what is under way keeps the time it was given.
    pub fn set_deadlines(&self, deadlines: Deadlines) {
        self.inner.env.deadlines.set(deadlines);
    }

    /// The same for the shims of one runtime, of those that had their own from the start on ([`Config::deadlines_for`]);
    /// `false` if this is none of them.
    pub fn set_deadlines_for(&self, runtime: &str, deadlines: &Deadlines) -> bool {
        let Ok(runtime) = runtime.parse::<Runtime>() else { return false };
        let own = self.inner.env.runtime_deadlines.iter().find(|(known, _)| *known == runtime);
        own.inspect(|(_, timing)| timing.set(deadlines.clone())).is_some()
    }

    /// Whether shims that are launched from now on log in detail ([`Config::debug`]).
    pub fn set_debug(&self, debug: bool) {
        self.inner.env.debug.store(debug, Ordering::Relaxed);
    }

    /// Makes a task: its bundle, its shim, its container. The container's init waits to be started.
    ///
    /// # Errors
    /// The error names the step that failed. Nothing is left behind then, and the id is free.
    ///
    /// # Cancel safety
    /// Dropping it undoes, in the background, what was made.
    pub async fn create(&self, task: CreateTask) -> Result<Task, Error> {
        let env = &self.inner.env;
        let key = task.key.clone();
        let (gave_up, guard) = withdrawal();
        let job = env.scope.spawn(trace::inherited(create::create(env.clone(), task, gave_up)));
        let made = job.await.map_err(|join| lost(join, &key))??;
        guard.disarm();
        // Without a pause in between, so that the task is either the caller's or undone.
        Ok(Task::new(made.take()))
    }

    /// A task. Waits for nothing.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` while it is being created or adopted, while its bundle cannot be looked at, and once the
    /// manager leaves.
    pub fn get(&self, key: &TaskKey) -> Result<Task, Error> {
        self.look_up(Role::Task, key).map(Task::new)
    }

    fn look_up(&self, role: Role, key: &TaskKey) -> Result<Arc<Shim>, Error> {
        let refused = match self.inner.env.registry_of(role).get(key) {
            Some(Entry::Shim(shim)) => {
                let over = matches!(shim.state.get(), State::Removing | State::Gone(End::Reaped));
                if !over {
                    return Ok(shim);
                }
                role.absent()
            }
            Some(Entry::Creating) => Refused::BeingCreated,
            Some(Entry::Adopting(_)) => Refused::BeingAdopted,
            Some(Entry::Stranded(reason)) => Refused::Unreachable { reason },
            // Those that are left to the next manager are let go of here, and are not gone.
            None if self.inner.env.scope.is_detaching() => Refused::Detaching,
            None => role.absent(),
        };
        Err(Error::new(Step::Find, refused).of(key))
    }

    /// A task, as [`Manager::get`] has it; one that is just being adopted is waited for, as long as it takes to come to
    /// a verdict. Whoever has less time drops this, and `get` says how it is.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` while it is being created, and while its bundle cannot be looked at.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn find(&self, key: &TaskKey) -> Result<Task, Error> {
        self.inner.env.registry.concluded(key).await;
        self.get(key)
    }

    /// Publishes an event of somebody else than a shim: of a record, say, or one that a client hands in. That a process
    /// of a task was made, started, deleted, or has ended is told by its shim only, and dropped.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the event is published.
    pub async fn publish(&self, event: Envelope) {
        events_endpoint::take_in(&self.inner.env, Arc::new(event), Sender::Client).await;
    }

    /// Makes a sandbox: its bundle, its shim, the sandbox in it. It takes tasks once it is started.
    ///
    /// # Errors
    /// The error names the step that failed. Nothing is left behind then, and the id is free. `NotImplemented` if the
    /// shim does not serve the sandbox service.
    ///
    /// # Cancel safety
    /// Dropping it undoes, in the background, what was made.
    pub async fn create_sandbox(&self, sandbox: CreateSandbox) -> Result<Sandbox, Error> {
        let env = &self.inner.env;
        let key = sandbox.key.to_bundle_key();
        let (gave_up, guard) = withdrawal();
        let job = env.scope.spawn(trace::inherited(sandbox::create(env.clone(), sandbox, gave_up)));
        let made = job.await.map_err(|join| lost(join, &key))??;
        guard.disarm();
        Ok(Sandbox::new(made.take()))
    }

    /// A sandbox.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` while it is being created or adopted.
    pub fn sandbox(&self, key: &SandboxKey) -> Result<Sandbox, Error> {
        self.look_up(Role::Sandbox, &key.to_bundle_key()).map(Sandbox::new)
    }

    /// Every sandbox, in the order of their keys.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        let mut shims = self.inner.env.sandboxes.shims();
        shims.retain(|shim| !matches!(shim.state.get(), State::Removing | State::Gone(_)));
        shims.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        shims.into_iter().map(Sandbox::new).collect()
    }

    /// What a shim binary says of itself (`-info`): its name and version, and the features of its runtime. Nothing is
    /// launched. An answer, or its failure, counts for a minute, unless the binary is replaced.
    ///
    /// # Errors
    /// Shims of containerd 1.6 and before cannot say; the error is `NotImplemented` then.
    ///
    /// # Cancel safety
    /// Yes: the binary is killed.
    pub async fn shim_info(&self, runtime: &str, options: Option<&Any>) -> Result<RuntimeInfo, Error> {
        let env = &self.inner.env;
        let runtime: Runtime = runtime.parse().map_err(|e| Error::new(Step::Check, e))?;
        let binary = launching::find(env, runtime).await?;
        env.infos.info(&binary, options, env.timing_of(binary.path()).now().info).await
    }

    /// Waits until nothing has this id: a task that is being deleted, or a creation that is being undone, is over and
    /// has left nothing. At once if there is none.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn freed(&self, key: &TaskKey) {
        self.inner.env.registry.freed(key).await;
    }

    /// Every task, in the order of their keys. Waits for nothing, so it leaves out what is still being adopted: see
    /// [`Manager::survey`].
    pub fn list(&self) -> Vec<Task> {
        Survey::of(&self.inner.env.registry).tasks
    }

    /// Every task and every bundle that is not known to be one, after waiting for at most `patience` for adoption:
    /// nothing that was found is out of sight at any moment.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn survey(&self, patience: Duration) -> Survey {
        let _ = tokio::time::timeout(patience, self.adopted()).await;
        Survey::of(&self.inner.env.registry)
    }

    /// How many shims there are and how they are, in numbers. Waits for nothing.
    pub fn census(&self) -> Census {
        Census::of(&self.inner.env)
    }

    /// The events of every task from now on, in the order they were published. Shortly after the start, before them come
    /// those of tasks that were found then ([`Config::expect_listeners`]).
    ///
    /// # Errors
    /// `ResourceExhausted` if there are too many subscribers.
    pub fn events(&self, filters: Filters) -> Result<Subscription, SubscribeError> {
        self.inner.env.exchange.subscribe(filters, Limits::default())
    }

    /// Task events with numbers, as the journal keeps them: those after the number `since` (0: all that are kept, `None`:
    /// from now on), then those that come, without a gap that is not told and without one twice. An event is seen here
    /// once it is on disk, a moment later than by [`Manager::events`].
    ///
    /// # Errors
    /// `OutOfRange` if the number was never given, which means that it is another journal's; `Unavailable` if no events
    /// are kept.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn events_since(&self, filters: Filters, since: Option<u64>) -> Result<EventsSince, Error> {
        let Some(journaling) = &self.inner.env.journaling else {
            let reason = "the manager was opened without a journal".to_owned();
            return Err(Error::new(Step::Events, Refused::NoJournal { reason }));
        };
        EventsSince::begin(journaling, filters, since).await
    }

    /// Waits until the manager begins to leave.
    ///
    /// # Cancel safety
    /// Yes.
    pub fn leaving(&self) -> impl Future<Output = ()> + Send + 'static {
        // No handle on the manager: whoever waits for its end must not be what keeps it.
        self.inner.env.scope.detach_token().clone().cancelled_owned()
    }

    /// Leaves: every task and shim lives on, and another manager can open the directories once this returns and
    /// every other handle is dropped.
    ///
    /// # Cancel safety
    /// Dropping it goes on leaving in the background.
    pub async fn detach(self) {
        let env = self.inner.env.clone();
        env.scope.start_detach();
        env.scope.ended().await;
        env.exchange.close();
    }

    /// Leaves as [`Manager::detach`] does, then removes both directories with everything in them. For an embedder
    /// whose directories are its own and end with it.
    ///
    /// Nothing is removed while there is a bundle, whose shim may live, or while anything is mounted in there. No mount
    /// is entered and no link followed. The directories stay locked until they are gone.
    ///
    /// # Errors
    /// `FailedPrecondition` naming what is in the way, or what the file system says.
    ///
    /// # Cancel safety
    /// Dropping it goes on leaving in the background; it stays open whether the directories are removed.
    pub async fn remove_directories(self) -> Result<(), Error> {
        let inner = self.inner.clone();
        self.detach().await;
        let state = inner.env.dirs.state().to_owned();
        let removed = elsewhere_or_here(move || inner.env.dirs.remove()).await;
        match removed {
            Ok(removed) => removed.map_err(|e| Error::new(Step::Remove, e)),
            Err(join) => Err(Error::io(Step::Remove, "remove", state, std::io::Error::other(join))),
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("state", &self.inner.env.dirs.state()).finish_non_exhaustive()
    }
}

/// Those who listened to the manager before us will be back in a moment.
fn expect_listeners(env: &Arc<Env>) {
    let (exchange, detach) = (env.exchange.clone(), env.scope.detach_token().clone());
    let within = env.config.expect_listeners;
    exchange.expect();
    env.scope.spawn(async move {
        detach.run_until_cancelled(tokio::time::sleep(within)).await;
        exchange.expect_no_more();
    });
}

/// A token that fires when whoever waits goes away, and what makes it do so.
fn withdrawal() -> (CancellationToken, DropGuard) {
    let gave_up = CancellationToken::new();
    (gave_up.clone(), gave_up.drop_guard())
}

fn lost(join: tokio::task::JoinError, key: &TaskKey) -> Error {
    Error::io(Step::Check, "run", PathBuf::new(), std::io::Error::other(join)).of(key)
}

fn prepare(config: Config, exchange: Exchange) -> Result<(Arc<Env>, Locks), Error> {
    let open = |e| Error::new(Step::Open, Cause::Dirs(e));
    let dirs = StateDirs::new(&config.state, &config.root).map_err(open)?;
    dirs.prepare().map_err(open)?;
    let locks = Locks::acquire(&dirs).map_err(|e| Error::new(Step::Open, e))?;
    let boot_id = BootId::current().map_err(|e| Error::new(Step::Open, e))?;
    let logs = Logs::new().map_err(|e| Error::io(Step::Open, "watch logs in", dirs.state(), e))?;
    let search = config.search_path.clone().map_or_else(SearchPath::of_process, SearchPath::new);
    let publish_binary = match &config.publish_binary {
        Some(path) => path.clone(),
        // Only shims that publish through a binary ever run it.
        None => std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
    };
    let address = match &config.address {
        Some(address) => address.clone(),
        None => dirs.state().join("shimkeeper.sock").to_string_lossy().into_owned(),
    };
    let runtime_of = |name: &String| name.parse().map_err(|e| Error::new(Step::Open, Cause::Resolve(e)));
    let runtime_deadlines = config
        .runtime_deadlines
        .iter()
        .map(|(runtime, deadlines)| Ok((runtime_of(runtime)?, Timing::new(deadlines.clone()))));
    let runtime_deadlines = runtime_deadlines.collect::<Result<_, Error>>()?;
    let always_reaped = config.always_reaped.iter().map(runtime_of).collect::<Result<_, Error>>()?;
    // Nothing of the tasks outlives a crash of the machine then: their events need not at once.
    let unsynced = dirs.state_is_in_memory().then_some(boot_id);
    let parallel = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let env = Env {
        deadlines: Timing::new(config.deadlines.clone()),
        runtime_deadlines,
        always_reaped,
        debug: AtomicBool::new(config.debug),
        boot_id,
        search,
        dialects: DialectMemory::default(),
        address,
        events_socket: match &config.events_socket {
            Some((path, _)) => path.clone(),
            None => dirs.state().join(EVENTS_SOCKET),
        },
        publish_binary,
        registry: Registry::default(),
        sandboxes: Registry::default(),
        groups: Groups::default(),
        infos: Infos::default(),
        exchange,
        task_events: AtomicU64::new(0),
        journaling: config.journal.map(|limits| Journaling::new(dirs.root(), limits, unsynced)),
        scope: Scope::over(dirs.state_is_in_memory()),
        all_are_seated: CancellationToken::new(),
        logs,
        rush_is_over: CancellationToken::new(),
        late_turn: Semaphore::new(1),
        another_look: Arc::new(Semaphore::new(1)),
        attaching: if config.overlap_grace_period { Attaching::default() } else { Attaching::disabled() },
        // Two for each core keep the cores busy: none takes as long as its turn counts then, unless it waits for something.
        creations: Turns::new(parallel * 2, Duration::from_millis(500)),
        // A launch is mostly start-up of a Go program: a few more than there are cores keep the cores busy.
        launches: Turns::new(parallel * 4, Duration::from_secs(1)),
        // A reap mostly waits: runc looks every tenth of a second whether what it killed is dead. So many keep the cores
        // busy, and no more, so that the first results come first.
        reaps: Turns::new(parallel * 6, Duration::from_secs(2)),
        sandbox_dirs: dirs.sandboxes(),
        dirs,
        config,
    };
    Ok((Arc::new(env), locks))
}
