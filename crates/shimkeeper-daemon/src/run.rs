// SPDX-License-Identifier: Apache-2.0
//! The daemon's life.
//!
//! ```text
//! sockets claimed ─▶ manager opened, adoption begins ─▶ served, READY ─▶ … ─▶ TERM
//! TERM ─▶ nobody is accepted any more ─▶ calls in flight end, 5 s at most ─▶ manager leaves ─▶ sockets removed
//! ```
//! Tasks and shims are never touched by it: it comes and goes beside them.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shimkeeper::Manager;
use shimkeeper_api::{About, Services};
use shimkeeper_store::Store;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::accept::Gate;
use crate::calls::Calls;
use crate::config::{Config, Sources};
use crate::controls::{Controls, Parts};
use crate::error::DaemonError;
use crate::logging::Log;
use crate::metrics::{Counted, Endpoint, Metrics};
use crate::observers::Observers;
use crate::server::Served;
use crate::signals::{Ask, Signals};
use crate::socket::{Activated, Socket};
use crate::spans::Spans;
use crate::{dump, identity, memory, notify, server};

/// How long calls in flight, creations and deletions above all, may go on when the daemon stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long the last answers may take to be sent after that.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long files may still be written to when the daemon leaves.
const LEAVING: Duration = Duration::from_secs(5);
/// Threads that files are read and written on, at most.
const BLOCKING_THREADS: usize = 32;
/// How long such a thread waits for more to do. Each keeps a cache of the allocator's, pieces of memory from everywhere,
/// and what lies between them can only be given back once it has ended: so that is before a burst counts as over.
const IDLE_THREAD: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop. To be called before the process has threads, once.
///
/// # Errors
/// [`DaemonError`] if it cannot start, or cannot go on.
pub fn run(sources: Sources) -> Result<(), DaemonError> {
    memory::share_one_heap();
    let config = sources.load()?;
    let log = Log::start(&config.debug);
    let activated = Activated::from_environment()?;
    adjust_oom_score(config.oom_score);
    let runtime =
        runtime().map_err(|source| DaemonError::System { verb: "start the async runtime", source })?;
    let ended = runtime.block_on(async {
        let daemon = Box::pin(Daemon::start(sources, config, log, activated)).await?;
        Box::pin(daemon.live()).await
    });
    // A write that somebody else holds up must not hold us up too.
    runtime.shutdown_background();
    ended
}

/// One thread, because two wake each other all the time, and nothing that is done on it waits for a disk.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(IDLE_THREAD)
        .enable_all()
        .build()
}

fn adjust_oom_score(score: i32) {
    if score == 0 {
        return;
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!(score, %error, "oom_score cannot be set");
    }
}

struct Daemon {
    signals: Signals,
    socket: Socket,
    /// Its name goes with it.
    _shims_socket: Socket,
    services: Services,
    controls: Controls,
    /// Figures and where they are served; none without an address.
    metrics: Option<(Metrics, Endpoint)>,
    spans: Option<Spans>,
}

impl Daemon {
    async fn start(
        sources: Sources,
        config: Config,
        log: Log,
        mut activated: Activated,
    ) -> Result<Self, DaemonError> {
        let started = Instant::now();
        let signals =
            Signals::listen().map_err(|source| DaemonError::System { verb: "listen to signals", source })?;
        let (grpc, ttrpc) = (&config.grpc, &config.ttrpc);
        let socket = Socket::open(&grpc.address, (grpc.uid, grpc.gid), &mut activated)?;
        let shims_at = config.ttrpc_address();
        let shims_socket = Socket::open(&shims_at, (ttrpc.uid, ttrpc.gid), &mut activated)?;
        activated.all_taken()?;
        let endpoint = match config.metrics.address.as_str() {
            "" => None,
            address => Some(Endpoint::open(address).await?),
        };
        let counted = endpoint.as_ref().map(|_| Counted::new(config.metrics.grpc_histogram));
        let mut library = library_config(&config, shims_at, &shims_socket)?;
        let spans = Spans::start(&config.tracing.endpoint)?;
        if let Some(observer) = Observers::of(counted.as_ref(), spans.as_ref()) {
            library = library.observer(observer);
        }
        let manager = Manager::open(library).await?;
        let (store, uuid) = match records(&config).await {
            Ok(records) => records,
            Err(error) => {
                // In order: what was just taken over is not lost because of that.
                let _ = timeout(LEAVING, manager.detach()).await;
                return Err(error);
            }
        };
        let about =
            About { version: identity::VERSION.to_owned(), revision: identity::REVISION.to_owned(), uuid };
        let mut services = Services::new(manager.clone(), store.clone(), about);
        let limits = &config.limits;
        let gate = Gate::new(limits.connections, limits.connections_per_user);
        let calls = Calls::new(limits.calls_per_connection);
        let parts = Parts { manager, store, gate, calls, started, adopted: Arc::default() };
        let metrics = counted.zip(endpoint).map(|(counted, endpoint)| {
            let metrics = Metrics::new(&counted, parts.clone());
            services = services.clone().observed(Arc::new(counted));
            (metrics, endpoint)
        });
        let controls = Controls { sources, config, log, parts };
        Ok(Self { signals, socket, _shims_socket: shims_socket, services, controls, metrics, spans })
    }

    async fn live(mut self) -> Result<(), DaemonError> {
        let controls = &mut self.controls;
        let stop = CancellationToken::new();
        let Parts { manager, store, gate, calls, started, .. } = controls.parts.clone();
        let served = Served { api: self.services.api(), calls: calls.clone(), spans: self.spans.clone() };
        {
            let mut serving = std::pin::pin!(server::serve(&self.socket, served, gate, stop.clone()));
            let mut watchdog = std::pin::pin!(notify::watchdog());
            let mut figures = std::pin::pin!(figures(self.metrics, stop.clone()));
            let mut tidying = std::pin::pin!(memory::give_back_when_quiet(&calls, &store));
            let mut adopted = std::pin::pin!(async {
                let adoption = manager.adopted().await;
                // Clients wait for the same, and are answered before memory is given back.
                tokio::task::yield_now().await;
                adoption
            });
            let mut is_adopted = false;
            // Replaced by the next one: what was read before that was asked for may be out of date.
            let mut reading: Pin<Box<dyn Future<Output = _>>> = Box::pin(std::future::pending());
            notify::ready();
            let boot = started.elapsed();
            tracing::info!(address = %controls.config.grpc.address.display(), ?boot, "serving");
            loop {
                tokio::select! {
                    ended = &mut serving => return ended,
                    () = &mut watchdog => {}
                    () = &mut figures => {}
                    () = &mut tidying => {}
                    adoption = &mut adopted, if !is_adopted => {
                        is_adopted = true;
                        controls.note_adopted();
                        dump::adoption(&adoption);
                    }
                    read = &mut reading => {
                        reading = Box::pin(std::future::pending());
                        controls.reload(read);
                    }
                    ask = self.signals.next() => match ask {
                        Ask::Stop => break,
                        Ask::Dump => dump::everything(&controls.parts).await,
                        Ask::Reload => {
                            notify::reloading();
                            reading = Box::pin(controls.sources.clone().load_beside());
                        }
                    },
                }
            }
            stop.cancel();
            leave(&controls.parts, &mut self.signals, serving).await;
        }
        if let Some(spans) = self.spans {
            spans.end().await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Ends what is under way, each thing with its time; `serving` has been told to end.
async fn leave(parts: &Parts, signals: &mut Signals, mut serving: Pin<&mut impl Future>) {
    notify::stopping();
    let calls = &parts.calls;
    tracing::info!(in_flight = calls.brief(), "stopping; tasks and shims live on");
    let mut is_over = false;
    let drained = async {
        tokio::select! {
            () = calls.idle() => {}
            _all_gone = &mut serving => is_over = true,
            // Asked twice, it does not wait.
            _again = signals.next() => {}
        }
    };
    if timeout(GRACE, drained).await.is_err() {
        tracing::warn!(in_flight = calls.brief(), "calls are cut off");
    }
    // Those that wait for an exit are told, and subscribers get the end of their stream.
    let left = timeout(LEAVING, parts.manager.clone().detach()).await;
    if left.is_err() {
        tracing::warn!("leaving while files are still being written");
    }
    if !is_over {
        // In vain where a client does not read; it sees the end of its connection.
        let _ = timeout(FAREWELL, serving).await;
    }
}

/// Serves figures, where there are any, for as long as the daemon lives.
async fn figures(metrics: Option<(Metrics, Endpoint)>, stop: CancellationToken) {
    if let Some((metrics, endpoint)) = metrics {
        tracing::info!(address = ?endpoint.address(), "figures are served");
        endpoint.serve(metrics, stop).await;
    }
    std::future::pending::<()>().await;
}

/// The records, and the installation's number: what the manager has locked is nobody else's to open.
async fn records(config: &Config) -> Result<(Store, String), DaemonError> {
    let (root, state) = (config.root.clone(), config.state.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::open(&Store::dir_below(&root), &state)?;
        let uuid = identity::read_or_make(&root)
            .map_err(|source| DaemonError::System { verb: "read the installation's number", source })?;
        Ok::<_, DaemonError>((store, uuid))
    });
    match opened.await {
        Ok(opened) => opened,
        Err(join) => Err(DaemonError::System { verb: "open the records", source: join.into() }),
    }
}

fn library_config(
    config: &Config,
    shims_at: PathBuf,
    shims_socket: &Socket,
) -> Result<shimkeeper::Config, DaemonError> {
    let shims = &config.plugins.shims;
    let mut library = shimkeeper::Config::new(&config.state, &config.root)
        .address(config.grpc.address.to_string_lossy())
        .events_socket(shims_at, shims_socket.listener()?)
        .debug(config.debug.level.is_detailed())
        .overlap_grace_period(shims.overlap_grace_period)
        .deadlines(config.timeouts.deadlines());
    for (runtime, deadlines) in config.timeouts.by_runtime() {
        library = library.deadlines_for(runtime, deadlines);
    }
    for runtime in &shims.always_reap {
        library = library.always_reap_for(runtime);
    }
    if !shims.socket_dir.as_os_str().is_empty() {
        library = library.socket_dir(&shims.socket_dir);
    }
    for (name, value) in shims.env.iter().filter_map(|entry| entry.split_once('=')) {
        library = library.env(name, value);
    }
    Ok(library)
}
