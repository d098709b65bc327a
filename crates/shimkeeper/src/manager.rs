// SPDX-License-Identifier: Apache-2.0
//! The library's front door: opens directories, makes tasks, finds them again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use shimkeeper_core::{Any, TaskKey};
use shimkeeper_events::{Exchange, Filters, Limits, SubscribeError, Subscription};
use shimkeeper_shim::{BootId, DialectMemory, Runtime, RuntimeInfo, SearchPath, StateDirs, resolve};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::DropGuard;

use crate::adopt::{self, Adoption};
use crate::config::Config;
use crate::create::{self, CreateTask};
use crate::env::Env;
use crate::error::{Error, Refused, Step};
use crate::events_endpoint;
use crate::lock::DirLock;
use crate::machine::{End, State};
use crate::registry::{Entry, Registry};
use crate::scope::Scope;
use crate::task::Task;

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
    _locks: [DirLock; 2],
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
        let (env, locks) = tokio::task::spawn_blocking(move || prepare(config, exchange))
            .await
            .map_err(|join| Error::io(Step::Open, "open", PathBuf::new(), std::io::Error::other(join)))??;
        let leave = env.scope.detach_token().clone().drop_guard();
        let endpoint = events_endpoint::listen(&env.events_socket)?;
        env.scope.spawn(events_endpoint::serve(env.clone(), endpoint));
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

    /// Makes a task: its bundle, its shim, its container. The container's init waits to be started.
    ///
    /// # Errors
    /// The error names the step that failed. Nothing is left behind then, and the id is free.
    ///
    /// # Cancel safety
    /// Dropping it undoes, in the background, what was made.
    pub async fn create(&self, task: CreateTask) -> Result<Task, Error> {
        let env = self.inner.env.clone();
        let key = task.key.clone();
        let gave_up = tokio_util::sync::CancellationToken::new();
        let guard = gave_up.clone().drop_guard();
        let job = env.scope.spawn(create::create(env.clone(), task, gave_up));
        let made = job.await.map_err(|join| {
            Error::io(Step::Check, "run", PathBuf::new(), std::io::Error::other(join)).of(&key)
        })??;
        guard.disarm();
        // Without a pause in between, so that the task is either the caller's or undone.
        Ok(Task { shim: made.take() })
    }

    /// A task.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` while it is being created or adopted.
    pub fn get(&self, key: &TaskKey) -> Result<Task, Error> {
        let refused = match self.inner.env.registry.get(key) {
            Some(Entry::Shim(shim)) => {
                let over = matches!(*shim.state.borrow(), State::Removing | State::Gone(End::Reaped));
                if !over {
                    return Ok(Task { shim });
                }
                Refused::NoSuchTask
            }
            Some(Entry::Creating) => Refused::BeingCreated,
            Some(Entry::Adopting) => Refused::BeingAdopted,
            None => Refused::NoSuchTask,
        };
        Err(Error::new(Step::Find, refused).of(key))
    }

    /// What a shim binary says of itself (`-info`): its name and version, and the features of its runtime. Nothing is
    /// launched.
    ///
    /// # Errors
    /// Shims of containerd 1.6 and before cannot say; the error is `NotImplemented` then.
    ///
    /// # Cancel safety
    /// Yes: the binary is killed.
    pub async fn shim_info(&self, runtime: &str, options: Option<&Any>) -> Result<RuntimeInfo, Error> {
        let env = &self.inner.env;
        let runtime: Runtime = runtime.parse().map_err(|e| Error::new(Step::Check, e))?;
        let binary = resolve(&runtime, &env.search).map_err(|e| Error::new(Step::Resolve, e))?;
        let answer = binary.info(options, env.config.deadlines.info).await;
        answer.map_err(|e| Error::new(Step::Launch, e).at_shim(binary.path()))
    }

    /// Waits until nothing has this id: a task that is being deleted, or a creation that is being undone, is over and
    /// has left nothing. At once if there is none.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn freed(&self, key: &TaskKey) {
        self.inner.env.registry.freed(key).await;
    }

    /// Every task, in the order of their keys.
    pub fn list(&self) -> Vec<Task> {
        let mut shims = self.inner.env.registry.shims();
        shims.retain(|shim| !matches!(*shim.state.borrow(), State::Removing | State::Gone(_)));
        shims.sort_by(|a, b| a.key.cmp(&b.key));
        shims.into_iter().map(|shim| Task { shim }).collect()
    }

    /// The events of every task from now on, in the order they were published.
    ///
    /// # Errors
    /// `ResourceExhausted` if there are too many subscribers.
    pub fn events(&self, filters: Filters) -> Result<Subscription, SubscribeError> {
        self.inner.env.exchange.subscribe(filters, Limits::default())
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
        let removed = tokio::task::spawn_blocking(move || inner.env.dirs.remove()).await;
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

fn prepare(config: Config, exchange: Exchange) -> Result<(Arc<Env>, [DirLock; 2]), Error> {
    let open = |e| Error::new(Step::Open, crate::error::Cause::Dirs(e));
    let dirs = StateDirs::new(&config.state, &config.root).map_err(open)?;
    dirs.prepare().map_err(open)?;
    let locks = [
        DirLock::acquire(dirs.state()).map_err(|e| Error::new(Step::Open, e))?,
        DirLock::acquire(dirs.root()).map_err(|e| Error::new(Step::Open, e))?,
    ];
    let boot_id = BootId::current().map_err(|e| Error::new(Step::Open, e))?;
    let search = match &config.search_path {
        Some(directories) => SearchPath::new(directories.clone()),
        None => SearchPath::of_process(),
    };
    let publish_binary = match &config.publish_binary {
        Some(path) => path.clone(),
        // Only shims that publish through a binary ever run it.
        None => std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
    };
    let address = match &config.address {
        Some(address) => address.clone(),
        None => dirs.state().join("shimkeeper.sock").to_string_lossy().into_owned(),
    };
    let parallel = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let env = Env {
        boot_id,
        search,
        dialects: DialectMemory::default(),
        address,
        events_socket: dirs.state().join(EVENTS_SOCKET),
        publish_binary,
        registry: Registry::default(),
        exchange,
        scope: Scope::default(),
        // A launch is mostly start-up of a Go program: a few more than there are cores keep the cores busy.
        launches: Semaphore::new(parallel * 4),
        reaps: Semaphore::new(parallel * 2),
        dirs,
        config,
    };
    Ok((Arc::new(env), locks))
}
