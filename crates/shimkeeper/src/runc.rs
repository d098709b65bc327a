// SPDX-License-Identifier: Apache-2.0
//! Options of runc's shim (`containerd.runc.v1.Options`), as far as one sets them by hand.

use std::path::{Path, PathBuf};

use shimkeeper_core::Any;
use shimkeeper_proto::containerd::runc::v1::Options;

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

impl RuncOptions {
    /// On this OCI runtime: a name in `PATH` or an absolute path.
    pub fn binary(name_or_path: impl Into<String>) -> Self {
        Self { binary: name_or_path.into(), ..Self::default() }
    }

    pub(crate) fn to_any(&self, state: &Path) -> Any {
        let root = self.root.clone().unwrap_or_else(|| state.join("runc"));
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
