// SPDX-License-Identifier: Apache-2.0
//! Options of runc's shim (`containerd.runc.v1.Options`), as far as one sets them by hand.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use shimkeeper_core::{Any, TaskKey};
use shimkeeper_proto::containerd::runc::v1::Options;
use shimkeeper_shim::ProcessIdentity;

/// How runc's shim runs containers. The default is runc from `PATH`, cgroups by file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuncOptions {
    /// The OCI runtime: a name in `PATH` or an absolute path; runc if empty. crun and youki take the same arguments.
    pub binary: String,
    /// Where the OCI runtime keeps its own state; below the manager's `state` if none.
    pub root: Option<PathBuf>,
    /// Whether cgroups are made by systemd.
    pub systemd_cgroup: bool,
    /// A cgroup for the shim itself, as a path below the cgroup root; where it was launched if empty.
    pub shim_cgroup: String,
    /// Owner of the container's standard input and output.
    pub io_owner: (u32, u32),
    /// Whether the container is set up without `pivot_root`.
    pub no_pivot_root: bool,
}

/// Where runc's shim has the runtime keep its state if nobody says where.
const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// How the binaries of runc's shim are called.
const SHIM: &[u8] = b"containerd-shim-runc-";

/// Whether this is a binary of runc's shim.
pub(crate) fn is_shim(binary: &Path) -> bool {
    binary.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(SHIM))
}

/// Where the OCI runtime keeps its own state, unless a caller says otherwise.
fn root_below(state: &Path) -> PathBuf {
    state.join("runc")
}

/// What runc's shim keeps in a bundle for its `delete` action. Without it that takes the default root of the runtime, where
/// another manager may have a container of this name.
pub(crate) fn files_for_delete(
    state: &Path,
    key: &TaskKey,
    init: Option<ProcessIdentity>,
) -> [(&'static str, Vec<u8>); 2] {
    let options = match init {
        Some(init) if is_in(Path::new(DEFAULT_ROOT), key, &init) => json!({}),
        _ => json!({ "root": root_below(state).to_string_lossy() }),
    };
    [("options.json", options.to_string().into_bytes()), ("runtime", Vec::new())]
}

/// Whether the runtime keeps the container with this init below this root: a caller's options may have said so.
fn is_in(root: &Path, key: &TaskKey, init: &ProcessIdentity) -> bool {
    let dir = root.join(key.namespace.as_str()).join(key.id.as_str());
    let state = std::fs::read(dir.join("state.json")).ok();
    let known = state.and_then(|state| serde_json::from_slice::<State>(&state).ok());
    known.is_some_and(|known| {
        (known.init_process_pid, known.init_process_start) == (init.pid, init.start_time)
    })
}

/// As much of runc's own state of a container as is looked at.
#[derive(Deserialize)]
struct State {
    init_process_pid: u32,
    init_process_start: u64,
}

impl RuncOptions {
    /// On this OCI runtime: a name in `PATH` or an absolute path.
    pub fn binary(name_or_path: impl Into<String>) -> Self {
        Self { binary: name_or_path.into(), ..Self::default() }
    }

    pub(crate) fn to_any(&self, state: &Path) -> Any {
        let root = self.root.clone().unwrap_or_else(|| root_below(state));
        let options = Options {
            binary_name: self.binary.clone(),
            root: root.to_string_lossy().into_owned(),
            systemd_cgroup: self.systemd_cgroup,
            shim_cgroup: self.shim_cgroup.clone(),
            io_uid: self.io_owner.0,
            io_gid: self.io_owner.1,
            no_pivot_root: self.no_pivot_root,
            ..Options::default()
        };
        let packed = shimkeeper_proto::pack(&options);
        Any::new(packed.type_url, packed.value)
    }
}
