// SPDX-License-Identifier: Apache-2.0
//! What a shim says of its sandbox.

use std::collections::BTreeMap;
use std::time::SystemTime;

use shimkeeper_core::Any;
use shimkeeper_proto::containerd::runtime::sandbox::v1 as wire;
use shimkeeper_proto::containerd::types;

use crate::convert;

/// A shim's answer to the start of its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxStarted {
    /// Process id on the host that stands for it; 0 if the shim names none.
    pub pid: u32,
    /// When it was made, if the shim says so.
    pub created_at: Option<SystemTime>,
    /// What the specs of its containers shall start from, if the shim has such a thing.
    pub spec: Option<Any>,
}

/// A shim's answer to the question for the state of its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxStatus {
    /// Process id on the host that stands for it; 0 if the shim names none.
    pub pid: u32,
    /// Its state in the shim's own words, commonly `SANDBOX_READY` or `SANDBOX_NOTREADY`.
    pub state: String,
    /// More about it, for people.
    pub info: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Option<SystemTime>,
    /// When it ended; none while it runs.
    pub exited_at: Option<SystemTime>,
    /// More about it, for programs that know the shim.
    pub extra: Option<Any>,
}

/// What can run in a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Platform {
    /// The operating system, as Go spells it: `linux`.
    pub os: String,
    /// The processor's architecture, as Go spells it: `amd64`.
    pub architecture: String,
    /// The variant of the architecture, if any: `v8`.
    pub variant: String,
    /// The version of the operating system, where programs depend on it.
    pub os_version: String,
}

impl SandboxStarted {
    pub(super) fn new(answer: wire::StartSandboxResponse) -> Self {
        Self {
            pid: answer.pid,
            created_at: convert::moment(answer.created_at.as_ref()),
            spec: answer.spec.map(convert::from_any),
        }
    }
}

impl SandboxStatus {
    pub(super) fn new(answer: wire::SandboxStatusResponse) -> Self {
        Self {
            pid: answer.pid,
            state: answer.state,
            info: answer.info,
            created_at: convert::moment(answer.created_at.as_ref()),
            exited_at: convert::moment(answer.exited_at.as_ref()),
            extra: answer.extra.map(convert::from_any),
        }
    }
}

impl Platform {
    pub(super) fn new(platform: types::Platform) -> Self {
        Self {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
            os_version: platform.os_version,
        }
    }
}
