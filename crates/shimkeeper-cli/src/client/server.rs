// SPDX-License-Identifier: Apache-2.0
//! The daemon as the commands see it: its services, a bound on every call, and what a refusal means to a user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use shimkeeper_client::{OpenError, Session};
use shimkeeper_core::{Kind, Namespace, chain};
use shimkeeper_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use shimkeeper_proto::containerd::services::events::v1::events_client::EventsClient;
use shimkeeper_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use shimkeeper_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use shimkeeper_proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use shimkeeper_proto::containerd::services::version::v1::version_client::VersionClient;
use shimkeeper_proto::shimkeeper::v1::keeper_client::KeeperClient;
use tonic::{Code, Response, Status};

use crate::failure::Failure;
use crate::output::Output;

/// The environment's words for where the daemon listens: ours, and those of containerd's clients.
const ADDRESS: &str = "SHIMKEEPER_ADDRESS";
const CONTAINERD_ADDRESS: &str = "CONTAINERD_ADDRESS";

/// Where the daemon listens unless told otherwise.
const DEFAULT_ADDRESS: &str = "/run/shimkeeper/shimkeeper.sock";

/// The longest a daemon may take for one call. Ours bounds what it asks of shims by far less.
const CALL: Duration = Duration::from_mins(2);

/// Largest message in either direction: containerd's own limit.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

// Which daemon, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The daemon's socket [default: $CONTAINERD_ADDRESS, or /run/shimkeeper/shimkeeper.sock]
    #[arg(long, value_name = "SOCKET", env = ADDRESS)]
    pub(super) address: Option<PathBuf>,
    /// In words, or as JSON
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(super) output: Output,
}

// In which namespace.
#[derive(Debug, Args)]
pub(crate) struct InNamespace {
    /// The namespace the containers are in
    #[arg(short, long, value_name = "NAME", env = "CONTAINERD_NAMESPACE", default_value = "default")]
    pub(super) namespace: Namespace,
}

/// A daemon that was connected to.
#[derive(Clone, Debug)]
pub(super) struct Server {
    address: PathBuf,
    namespace: Option<Namespace>,
    session: Session,
}

/// A client of each service, on the one session.
macro_rules! services {
    ($($name:ident: $client:ident),+ $(,)?) => {
        impl Server {
            $(pub(super) fn $name(&self) -> $client<Session> {
                $client::new(self.session.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
            })+
        }
    };
}

services!(
    containers: ContainersClient,
    events: EventsClient,
    introspection: IntrospectionClient,
    keeper: KeeperClient,
    namespaces: NamespacesClient,
    tasks: TasksClient,
    version: VersionClient,
);

impl Server {
    /// Connects; calls are made in the namespace, if there is one.
    pub(super) async fn connect(args: &ServerArgs, namespace: Option<&Namespace>) -> Result<Self, Failure> {
        Self::at(args.address.as_deref(), namespace).await
    }

    /// Connects to the one at this address, or to the one that the environment names.
    pub(super) async fn at(address: Option<&Path>, namespace: Option<&Namespace>) -> Result<Self, Failure> {
        let of = |variable| std::env::var_os(variable).map(PathBuf::from);
        let address = address.map(Path::to_owned).or_else(|| of(ADDRESS)).or_else(|| of(CONTAINERD_ADDRESS));
        let address = address.unwrap_or_else(|| DEFAULT_ADDRESS.into());
        let session = open(&address, namespace).await?;
        Ok(Self { address, namespace: namespace.cloned(), session })
    }

    /// The namespace of its calls; empty if they are in none.
    pub(super) fn namespace(&self) -> String {
        self.namespace.as_ref().map(Namespace::to_string).unwrap_or_default()
    }

    /// Connects once more, for when the daemon was away.
    pub(super) async fn again(&self) -> Result<Self, Failure> {
        let session = open(&self.address, self.namespace.as_ref()).await?;
        Ok(Self { session, ..self.clone() })
    }
}

async fn open(address: &Path, namespace: Option<&Namespace>) -> Result<Session, Failure> {
    let what = format!("connect to the daemon at {}", address.display());
    let opened = tokio::time::timeout(CALL, Session::open(address)).await.map_err(|_elapsed| late(&what))?;
    let session = opened.map_err(|error| match error {
        OpenError::Connect(error) => {
            let hint = "see whether the daemon runs there, or give its socket with --address";
            Failure::io(what, &error, hint)
        }
        OpenError::Handshake(error) => {
            let hint = "see whether this is the socket of containerd's API";
            Failure::new(Kind::Unavailable, format!("{what}: {error}"), hint)
        }
    })?;
    Ok(match namespace {
        Some(namespace) => session.within(namespace.as_str()),
        None => session,
    })
}

/// The answer to one call, or what the user is told of its failure.
pub(super) fn ask<T>(
    what: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> impl Future<Output = Result<T, Failure>> {
    // The stubs' futures are large, and every command holds several.
    let call = tokio::time::timeout(CALL, Box::pin(call));
    async move {
        match call.await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(refused(what, &status)),
            Err(_elapsed) => Err(late(what)),
        }
    }
}

/// The same for what a daemon may not have; `None` if so.
pub(super) fn ask_if_served<T>(
    what: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> impl Future<Output = Result<Option<T>, Failure>> {
    let asked = ask(what, call);
    async move { unless(Kind::NotImplemented, asked.await) }
}

/// Nothing, if it failed like this.
pub(super) fn unless<T>(kind: Kind, outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match outcome {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.kind == kind => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether it was not the daemon that answered, but the way to it that failed, or the daemon is on its way out.
pub(super) fn is_cut_off(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        || matches!(status.code(), Code::Unavailable | Code::Cancelled)
}

/// What the daemon answered instead.
pub(super) fn refused(what: &str, status: &Status) -> Failure {
    let kind = Kind::from_code(status.code().into());
    // With a source, it is our side that failed, and the source says how.
    let said =
        if std::error::Error::source(status).is_some() { chain(status) } else { status.message().to_owned() };
    Failure::new(kind, format!("{what}: {said}"), hint(kind))
}

fn late(what: &str) -> Failure {
    Failure::new(
        Kind::DeadlineExceeded,
        format!("{what}: no answer within {CALL:?}"),
        hint(Kind::DeadlineExceeded),
    )
}

fn hint(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "`shimkeeper ps -a` shows what there is",
        Kind::AlreadyExists | Kind::FailedPrecondition => "`shimkeeper inspect` shows the state it is in",
        Kind::Unavailable => {
            "see whether the daemon runs, or shuts down; `shimkeeper info` shows how its shims do"
        }
        Kind::DeadlineExceeded => "`shimkeeper info` shows how shims do; whether it took effect is not known",
        Kind::NotImplemented => "this daemon does not serve it",
        Kind::PermissionDenied | Kind::Unauthenticated => {
            "the daemon serves only whom it trusts, mostly root"
        }
        Kind::InvalidArgument => "see the command's --help",
        _ => "the daemon's log may say more",
    }
}
