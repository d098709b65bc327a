// SPDX-License-Identifier: Apache-2.0
//! What both sides run in: directories, a root file system, the same spec.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shimkeeper_shim::{Runtime, SearchPath, resolve};
use shimkeeper_testkit::{Script, TestDirs, TestSpec, deps};

use crate::args::Target;
use crate::error::BenchError;

/// What the process of an exec is called on the wire.
pub(crate) const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// The namespace of every task.
pub(crate) const NAMESPACE: &str = "bench";

/// The surroundings of a run. Dropping it removes what it made.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) dirs: TestDirs,
    pub(crate) shim: PathBuf,
    pub(crate) runtime_binary: String,
    pub(crate) always_reap: bool,
    pub(crate) overlap: bool,
    rootfs: PathBuf,
    next: AtomicU32,
}

impl Site {
    pub(crate) fn new(target: &Target) -> Result<Self, BenchError> {
        let runtime: Runtime = target.shim.parse().map_err(|e| BenchError::Shim(Box::new(e)))?;
        let shim = resolve(&runtime, &SearchPath::of_process()).map_err(|e| BenchError::Shim(Box::new(e)))?;
        Ok(Self {
            dirs: TestDirs::below(&target.dir),
            shim: shim.path().to_owned(),
            runtime_binary: target.runtime_binary.clone(),
            always_reap: target.always_reap,
            overlap: !target.no_overlap,
            rootfs: deps::rootfs(),
            next: AtomicU32::new(0),
        })
    }

    /// The same for one that runs until it is killed. The fake shim knows what to do without a program.
    pub(crate) fn sleeper(&self, is_fake: bool) -> (String, Bytes) {
        let id = self.new_id();
        let spec = if is_fake {
            TestSpec::fake(["stubborn"]).script(&Script::new().lifetime(Duration::from_hours(1)))
        } else {
            TestSpec::new(&self.rootfs, &id).args(["/bin/sleep", "3600"]).cgroup(&self.cgroup(&id))
        };
        (id, spec.to_bytes())
    }

    /// What an additional process of a container is told.
    pub(crate) fn process(&self, args: &[&str]) -> Bytes {
        TestSpec::new(&self.rootfs, "").process(args)
    }

    fn new_id(&self) -> String {
        format!("c{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Below the one that goes with the directories.
    fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.dirs.cgroup())
    }

    /// An id that was not used before, and the spec of a container of that name which ends at once.
    pub(crate) fn container(&self) -> (String, Bytes) {
        let id = self.new_id();
        let spec = TestSpec::new(&self.rootfs, &id).args(["/bin/true"]).cgroup(&self.cgroup(&id));
        (id, spec.to_bytes())
    }
}
