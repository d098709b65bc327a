// SPDX-License-Identifier: Apache-2.0
//! One of the two: a daemon that serves, a session with it, and what a client does with containers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Signal;
use shimkeeper_proto::containerd::runc::v1::Options;
use shimkeeper_proto::containerd::services::containers::v1::{Container, container::Runtime};
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_testkit::{TestSpec, deps};
use tokio::task::JoinSet;

use crate::against::client::{CALL, Client};
use crate::against::daemon::Daemon;
use crate::against::error::AgainstError;
use crate::against::program::Pairing;
use crate::args::Comparison;
use crate::error::BenchError;
use crate::measure::cpu_of;
use crate::stats::millis;

/// What the spec of a container is called on the wire.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// Calls that make or end containers and are under way at once, where that is not what is measured.
const LANES: usize = 8;

/// How long what is meant to go may take.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Between two looks at whether something has come true.
pub(crate) const LOOK: Duration = Duration::from_millis(1);

/// A daemon that serves.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
    kit: Arc<Kit>,
}

/// What containers are made of.
#[derive(Debug)]
struct Kit {
    cgroup: String,
    options: Any,
}

/// Processor time until now, of the daemon and of everybody, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) daemon: f64,
    pub(crate) all: f64,
}

/// A container that runs until it is killed, and who takes care of it.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    client: Client,
    kit: Arc<Kit>,
}

/// Both sides of a pairing, ours first, both serving.
pub(crate) async fn both(pairing: &Pairing, options: &Comparison) -> Result<[Side; 2], AgainstError> {
    Ok([Side::start(0, pairing, options).await?, Side::start(1, pairing, options).await?])
}

/// Who is first in a round: A B, B A, A B, … so that a slow minute of the machine meets both.
pub(crate) fn turn(round: u32) -> [usize; 2] {
    if round.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

/// Whose turn it is, round after round.
pub(crate) fn turns(rounds: u32) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(turn)
}

impl Side {
    /// Side 0, which is ours, or 1.
    pub(crate) async fn start(
        index: usize,
        pairing: &Pairing,
        options: &Comparison,
    ) -> Result<Self, AgainstError> {
        let mut daemon = Daemon::new(pairing.program(index), &pairing.shim, options)?;
        daemon.launch()?;
        let client = daemon.serves().await?;
        let kit = Arc::new(Kit::new(&daemon, options));
        Ok(Self { daemon, client, kit })
    }

    /// Starts the daemon again after an end; answers when it was executed.
    pub(crate) async fn start_again(&mut self) -> Result<Instant, AgainstError> {
        let began = self.daemon.launch()?;
        self.client = self.daemon.serves().await?;
        Ok(began)
    }

    pub(crate) fn used(&self) -> Result<Used, AgainstError> {
        let daemon = cpu_of(self.daemon.pid()?)?;
        Ok(Used { daemon: millis(daemon), all: millis(self.daemon.plane.cpu()?) })
    }

    pub(crate) fn maker(&self) -> Maker {
        Maker { client: self.client.clone(), kit: self.kit.clone() }
    }

    /// Waits until nothing runs but the daemon and the shims of so many containers: what is done after the reply
    /// belongs to what was asked for.
    pub(crate) async fn quiet(&self, shims: usize) -> Result<(), AgainstError> {
        let deadline = Instant::now() + CALL;
        while self.daemon.plane.processes()?.len() > 1 + shims {
            if Instant::now() >= deadline {
                let name = self.daemon.program.name();
                return Err(AgainstError::Unexpected(format!("{name} does not come to rest")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Makes so many containers that run until they are killed; answers their ids.
    pub(crate) async fn fill(&self, n: usize) -> Result<Vec<String>, AgainstError> {
        let ids: Vec<_> = (0..n).map(|_| self.daemon.new_id()).collect();
        let jobs = ids.clone().into_iter().map(|id| {
            let maker = self.maker();
            async move { maker.sleeper(&id).await }
        });
        in_lanes(LANES, jobs).await?;
        Ok(ids)
    }

    /// Ends and removes containers.
    pub(crate) async fn clear(&self, ids: Vec<String>) -> Result<(), AgainstError> {
        let jobs = ids.into_iter().map(|id| {
            let maker = self.maker();
            async move { maker.remove(&id).await }
        });
        in_lanes(LANES, jobs).await?;
        self.quiet(0).await
    }

    /// Ends the daemon.
    pub(crate) async fn close(mut self) -> Result<(), AgainstError> {
        self.daemon.end(Signal::TERM).await.map(drop)
    }
}

impl Kit {
    fn new(daemon: &Daemon, options: &Comparison) -> Self {
        let options = shimkeeper_proto::pack(&Options {
            binary_name: options.runtime_binary.clone(),
            root: daemon.dirs.path().join("runc").to_string_lossy().into_owned(),
            ..Options::default()
        });
        Self { cgroup: daemon.dirs.cgroup(), options }
    }

    fn spec(&self, id: &str, args: &[&str]) -> TestSpec {
        TestSpec::new(deps::rootfs(), id).args(args).cgroup(&format!("{}/{id}", self.cgroup))
    }
}

impl Maker {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The record of a container.
    pub(crate) fn container(&self, id: &str, args: &[&str]) -> Container {
        let runtime =
            Runtime { name: "io.containerd.runc.v2".into(), options: Some(self.kit.options.clone()) };
        Container {
            id: id.to_owned(),
            runtime: Some(runtime),
            spec: Some(Any { type_url: SPEC.into(), value: self.kit.spec(id, args).to_bytes() }),
            ..Container::default()
        }
    }

    /// The spec of an additional process.
    pub(crate) fn process(&self, id: &str, args: &[&str]) -> Bytes {
        self.kit.spec(id, args).process(args)
    }

    /// A container that runs until it is killed.
    async fn sleeper(&self, id: &str) -> Result<(), AgainstError> {
        self.client.create_container(self.container(id, &["/bin/sleep", "36000"])).await?;
        self.client.create(id).await?;
        self.client.start(id, "").await
    }

    async fn remove(&self, id: &str) -> Result<(), AgainstError> {
        self.client.kill(id).await?;
        self.client.wait(id, "").await?;
        self.client.delete(id).await?;
        self.client.delete_container(id).await
    }
}

impl Used {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { daemon: self.daemon - earlier.daemon, all: self.all - earlier.all }
    }
}

/// What is still there of something that is meant to go, once it has gone or had its time.
pub(crate) async fn left(
    mut look: impl FnMut() -> Result<usize, AgainstError>,
) -> Result<usize, AgainstError> {
    let deadline = Instant::now() + GRACE;
    loop {
        let left = look()?;
        if left == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Runs jobs, at most so many at once.
pub(crate) async fn in_lanes<F, T>(
    lanes: usize,
    jobs: impl Iterator<Item = F>,
) -> Result<Vec<T>, AgainstError>
where
    F: Future<Output = Result<T, AgainstError>> + Send + 'static,
    T: Send + 'static,
{
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for job in jobs {
        if running.len() == lanes
            && let Some(ended) = running.join_next().await
        {
            done.push(ended.map_err(|_| BenchError::Panicked)??);
        }
        running.spawn(job);
    }
    while let Some(ended) = running.join_next().await {
        done.push(ended.map_err(|_| BenchError::Panicked)??);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_last_is_first() {
        assert_eq!(turns(3).collect::<Vec<_>>(), [0, 1, 1, 0, 0, 1]);
    }
}
