// SPDX-License-Identifier: Apache-2.0
//! One cell of the matrix: a generation of the shim, and an OCI runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shimkeeper::RuncOptions;
use shimkeeper_testkit::deps::Generation;

/// Which shim, on which runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) generation: Generation,
    pub(crate) runtime: OciRuntime,
}

/// Which OCI runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OciRuntime {
    Runc,
    Crun,
}

/// Not every crun works where cgroups of both versions are mounted (1.8 does not): this one does not see version 2.
const CRUN: &str = r#"#!/bin/sh
hybrid=/sys/fs/cgroup/unified
[ -d "$hybrid" ] || exec crun "$@"
exec unshare --mount sh -c "umount $hybrid; exec crun \"\$@\"" crun "$@"
"#;

impl OciRuntime {
    /// The shim's options for it; what they need is put into `dir`.
    pub(crate) fn options(self, dir: &Path) -> RuncOptions {
        match self {
            Self::Runc => RuncOptions::default(),
            Self::Crun => {
                let wrapper = dir.join("crun");
                if !wrapper.exists() {
                    fs::write(&wrapper, CRUN).unwrap();
                    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
                }
                RuncOptions::binary(wrapper.to_str().unwrap())
            }
        }
    }

    /// What it writes its containers' state to, which the other does not.
    pub(crate) fn state_file(self) -> &'static str {
        match self {
            Self::Runc => "state.json",
            Self::Crun => "status",
        }
    }

    /// The program it takes.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}
