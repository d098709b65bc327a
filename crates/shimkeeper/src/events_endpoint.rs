// SPDX-License-Identifier: Apache-2.0
//! Where shims send their events: containerd's ttrpc Events service on a socket below the state directory, or on the
//! caller's.
//!
//! A task's events go through its ledger, which says what becomes of them; what is no task's is passed on. An exit
//! is on disk before it is published.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use shimkeeper_core::{Exit, HasKind as _, Kind, ProcessKey, Provenance, TaskKey};
use shimkeeper_events::{Envelope, TaskEvent};
use shimkeeper_proto::containerd::services::events::ttrpc::v1::{EVENTS_SERVICE, ForwardRequest};
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_shim::{elsewhere_or_here, is_go_program};
use shimkeeper_ttrpc::{Answer, Context, MayClose, PeerCred, Server, ServerLimits, Service, Status};
use tokio::net::UnixListener;

use crate::env::Env;
use crate::error::{Error, Refused, Step};
use crate::exits;
use crate::ledger::Fact;
use crate::monitor;
use crate::observer::Dropped;
use crate::publish;
use crate::registry::Entry;
use crate::shim::Shim;
use crate::task::denial;

/// Room for a path in a socket's address, without the closing zero byte.
pub(crate) const MAX_SOCKET_PATH: usize = 107;

/// Every shim keeps a connection, so their number is bounded by what bounds the shims, not here.
const CONNECTIONS: usize = 1 << 20;

/// How long a shim's connection may be silent before it is closed, if it comes back. Most tasks end, or go on without a
/// word for much longer.
const SILENCE: Duration = Duration::from_secs(5);

/// The socket, and the file that leads to it if it was made here.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: UnixListener,
    own: Option<OwnFile>,
}

#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    inode: u64,
}

/// The caller's socket, or one that is made here.
pub(crate) fn listen(env: &Env) -> Result<Endpoint, Error> {
    let Some((path, listener)) = &env.config.events_socket else { return make(&env.events_socket) };
    let listener = listener.try_clone().and_then(|listener| {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    });
    let listener = listener.map_err(|e| Error::io(Step::Open, "listen on", path, e))?;
    Ok(Endpoint { listener, own: None })
}

/// Makes the socket. The lock on the directory says that whoever had it before us is gone.
fn make(path: &Path) -> Result<Endpoint, Error> {
    let len = path.as_os_str().len();
    if len > MAX_SOCKET_PATH {
        let refused = Refused::PathTooLong { path: path.to_owned(), len, max: MAX_SOCKET_PATH };
        return Err(Error::new(Step::Open, refused));
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(Step::Open, "replace socket", path, e));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(|e| Error::io(Step::Open, "listen on", path, e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| Error::io(Step::Open, "protect socket", path, e))?;
    let inode =
        std::fs::symlink_metadata(path).map_err(|e| Error::io(Step::Open, "examine socket", path, e))?.ino();
    Ok(Endpoint { listener, own: Some(OwnFile { path: path.to_owned(), inode }) })
}

/// Serves until the manager leaves.
pub(crate) async fn serve(env: Arc<Env>, endpoint: Endpoint) {
    let stop = env.scope.detach_token().clone();
    let service: Arc<dyn Service> = Arc::new(Events { env });
    Server::new(ServerLimits { connections: CONNECTIONS, ..ServerLimits::default() })
        .service(EVENTS_SERVICE, service)
        .require_same_user(true)
        .close_idle(SILENCE, comes_back)
        .serve(endpoint.listener, stop)
        .await;
    // Only our own: the next manager may have its socket there already.
    if let Some(OwnFile { path, inode }) = endpoint.own
        && std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.ino() == inode)
    {
        let _ = std::fs::remove_file(&path);
    }
}

/// Whether a shim connects again when it has something to say, and says again what was not answered: the publisher that
/// comes with containerd's library for shims in Go does, or no shim would outlive a restart of its daemon. Others keep
/// the connection that they have; those in Rust know no second one.
fn comes_back(shim: PeerCred) -> MayClose {
    // The program may be on a disk that hangs.
    let look = move || shim.pid.is_some_and(is_go_program);
    Box::pin(async move { elsewhere_or_here(look).await.unwrap_or(false) })
}

struct Events {
    env: Arc<Env>,
}

impl Service for Events {
    fn call<'a>(&'a self, method: &'a str, payload: Bytes, context: &'a Context) -> Answer<'a> {
        Box::pin(async move {
            if method != "Forward" {
                return Err(Status::unknown_method(method));
            }
            let request = ForwardRequest::decode(payload).map_err(|e| {
                Status::new(Kind::InvalidArgument.code(), format!("event cannot be decoded: {e}"))
            })?;
            let envelope = Envelope::try_from(request)
                .map_err(|e| Status::new(e.kind().code(), format!("event refused: {e}")))?;
            let sender = Sender::Process(context.peer.and_then(|peer| peer.pid));
            take_in(&self.env, Arc::new(envelope), sender).await;
            Ok(Empty::default().encode_to_vec().into())
        })
    }
}

/// Who tells of something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender {
    /// Whoever embeds us, or a client of theirs.
    Client,
    /// Who is connected where shims are, as far as the kernel names the process.
    Process(Option<u32>),
}

impl Sender {
    /// Whether it may say this of a shim's task. What becomes of processes is told by the shim, or by a process that it
    /// has started to do so, and by nobody else: what is told of an end is believed of one that lives.
    fn may_tell(self, shim: &Shim, fact: &Fact) -> bool {
        match (self, shim.identity()) {
            (Self::Client, _) => *fact == Fact::Other,
            (Self::Process(Some(sender)), Some(known)) => {
                sender == known.pid || known.is_at_or_above(sender).is_ok_and(|is| is)
            }
            (Self::Process(_), _) => true,
        }
    }
}

/// Takes in an event from outside.
pub(crate) async fn take_in(env: &Env, envelope: Arc<Envelope>, sender: Sender) {
    match TaskEvent::decode(&envelope) {
        Ok(None) => {
            env.exchange.publish(&envelope);
        }
        Ok(Some((key, event))) => take_in_task_event(env, &key, event, &envelope, sender).await,
        Err(error) => {
            dropped(env, Dropped::Undecodable);
            tracing::warn!(topic = %envelope.topic(), namespace = %envelope.namespace(), %error, "event dropped");
        }
    }
}

async fn take_in_task_event(
    env: &Env,
    key: &TaskKey,
    event: TaskEvent,
    envelope: &Arc<Envelope>,
    sender: Sender,
) {
    // Before it is looked for: whoever puts it there sees then that something came.
    env.task_events.fetch_add(1, Ordering::Relaxed);
    let Some(Entry::Shim(shim) | Entry::Adopting(Some(shim))) = env.registry.get(key) else {
        // Late, from a task that is over and whose end has been told; or early, from one that was found and has no shim
        // here yet, which is asked what it is then.
        dropped(env, Dropped::NoTask);
        tracing::debug!(
            namespace = %key.namespace, task = %key.id, topic = %envelope.topic(),
            "event of no task dropped"
        );
        return;
    };
    let fact = fact(event);
    if !sender.may_tell(&shim, &fact) {
        dropped(env, Dropped::Foreign);
        tracing::warn!(
            namespace = %key.namespace, task = %key.id, ?sender, topic = %envelope.topic(),
            "event dropped: it is not from the shim of its task"
        );
        return;
    }
    if let Some(fact) = shim.early.take(fact, envelope) {
        take_in_fact(&shim, fact, envelope).await;
    }
}

/// Takes in what a shim reports of its task, and publishes what follows.
pub(crate) async fn take_in_fact(shim: &Arc<Shim>, fact: Fact, envelope: &Arc<Envelope>) {
    let ended = match &fact {
        Fact::Exited(process, exit) if exits::accept(shim, process, *exit) => Some(process.clone()),
        Fact::Deleted(process, exit) if exits::accept_deleted(shim, process, *exit) => Some(process.clone()),
        _ => None,
    };
    if ended.is_some() {
        monitor::persist(shim).await;
    }
    let is_deleted = matches!(&fact, Fact::Deleted(ProcessKey::Init, _));
    crate::failpoint::hit("C8");
    if !publish::decided(shim, Some(envelope), |ledger| ledger.ingest(fact)) {
        dropped(&shim.env, Dropped::Stale);
        tracing::debug!(
            namespace = %shim.key.namespace, task = %shim.key.id, topic = %envelope.topic(),
            "event dropped: told before, or stale"
        );
    }
    if let Some(process) = ended {
        // Whoever watches notes down that it was told; of an exec that was never seen to start nobody does yet.
        monitor::watch_once(shim, &process);
    }
    if is_deleted {
        denial::heard(shim);
    }
}

fn dropped(env: &Env, why: Dropped) {
    if let Some(observer) = &env.config.observer {
        observer.dropped(why);
    }
}

fn fact(event: TaskEvent) -> Fact {
    let observed = |pid, status, at| Exit { pid, status, at, provenance: Provenance::Observed };
    match event {
        TaskEvent::Create { pid, .. } => Fact::Created { pid },
        TaskEvent::Start { pid } => Fact::Started { pid },
        TaskEvent::ExecAdded { exec } => Fact::ExecAdded(exec),
        TaskEvent::ExecStarted { exec, pid } => Fact::ExecStarted(exec, pid),
        TaskEvent::Exit { process, pid, status, at } => Fact::Exited(process, observed(pid, status, at)),
        TaskEvent::Delete { process, pid, status, at } => Fact::Deleted(process, observed(pid, status, at)),
        _ => Fact::Other,
    }
}
