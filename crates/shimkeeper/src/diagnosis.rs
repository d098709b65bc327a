// SPDX-License-Identifier: Apache-2.0
//! What a container lacks that did not start, and what to do about it. How it is found out is in `diagnosing.rs`.

use shimkeeper_core::Kind;

/// What a container lacks that did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Diagnosis {
    /// Its command, or the command's interpreter, is not there.
    CommandMissing,
    /// Its command is there and cannot be executed.
    CommandNotExecutable,
    /// The shim cannot run the OCI runtime.
    RuntimeMissing,
    /// The shim, or the OCI runtime, found no room on a file system.
    DiskFull,
}

impl Diagnosis {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::CommandMissing | Self::RuntimeMissing => Kind::NotFound,
            Self::CommandNotExecutable => Kind::PermissionDenied,
            Self::DiskFull => Kind::ResourceExhausted,
        }
    }

    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::CommandMissing => {
                "check the command's name, and that it is in the root file system with the loader and libraries it needs"
            }
            Self::CommandNotExecutable => "check that the command is a file with execute permission",
            Self::RuntimeMissing => "check that the OCI runtime is installed and in PATH, or give its path",
            Self::DiskFull => DISK_FULL_HINT,
        }
    }
}

pub(crate) const DISK_FULL_HINT: &str = "make room on the file systems of the state and root directories";
