// SPDX-License-Identifier: Apache-2.0
//! Where the shims of each containerd generation are, and what they speak.

use std::env;
use std::path::{Path, PathBuf};

use shimkeeper_shim::TaskApi;

const SHIM: &str = "containerd-shim-runc-v2";

/// A generation of the runc shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// What the machine's package manager installed (1.6 on Debian 12).
    Installed,
    V1_7,
    V2_1,
}

impl Generation {
    /// The shim's binary.
    pub(crate) fn shim(self) -> PathBuf {
        let candidates: Vec<_> = match self {
            Self::Installed => {
                env::split_paths(&env::var_os("PATH").unwrap_or_default()).map(|dir| dir.join(SHIM)).collect()
            }
            Self::V1_7 => vec![deps().join("shims/1.7/bin").join(SHIM)],
            Self::V2_1 => vec![deps().join("shims/2.1/bin").join(SHIM)],
        };
        candidates.iter().find(|path| path.is_file()).cloned().unwrap_or_else(|| missing(&candidates))
    }

    /// What it announces.
    pub(crate) fn api(self) -> TaskApi {
        match self {
            Self::Installed | Self::V1_7 => TaskApi::TtrpcV2,
            Self::V2_1 => TaskApi::TtrpcV3,
        }
    }
}

/// The root file system of the containers.
pub(crate) fn rootfs() -> PathBuf {
    let rootfs = deps().join("rootfs");
    if rootfs.join("bin/sh").symlink_metadata().is_ok() { rootfs } else { missing(&[rootfs]) }
}

fn deps() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    env::var_os("SHIMKEEPER_DEPS").map_or_else(|| workspace.join("target/deps"), PathBuf::from)
}

fn missing(candidates: &[PathBuf]) -> ! {
    panic!("none of {candidates:?} is there: run `cargo xtask deps --tests`, or set SHIMKEEPER_DEPS")
}
