// SPDX-License-Identifier: Apache-2.0
//! What a caller asks for: a sandbox, described.

use std::collections::BTreeMap;

use bytes::Bytes;
use shimkeeper_core::{Any, Mount, SandboxKey};

use crate::create::Options;
use crate::runc::RuncOptions;

/// A sandbox to be made.
#[derive(Clone, Debug)]
pub struct CreateSandbox {
    pub(crate) key: SandboxKey,
    pub(crate) runtime: String,
    pub(crate) spec: Bytes,
    pub(crate) options: Options,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) netns: String,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl CreateSandbox {
    /// A sandbox of a shim that serves the sandbox service: a runtime name (`io.containerd.kuasar-vmm.v1`) or the
    /// absolute path of a shim binary.
    pub fn new(key: SandboxKey, runtime: impl Into<String>) -> Self {
        Self {
            key,
            runtime: runtime.into(),
            spec: Bytes::new(),
            options: Options::Unset,
            rootfs: Vec::new(),
            netns: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// With the bytes of a `config.json` in its bundle, passed on as they are. Some shims do not start without one.
    pub fn spec(mut self, spec: impl Into<Bytes>) -> Self {
        self.spec = spec.into();
        self
    }

    /// With options of runc's shim.
    pub fn runc(mut self, options: RuncOptions) -> Self {
        self.options = Options::Runc(options);
        self
    }

    /// With options of another shim, passed on as they are.
    pub fn options(mut self, options: Any) -> Self {
        self.options = Options::Foreign(options);
        self
    }

    /// With mounts that the shim makes for it.
    pub fn rootfs(mut self, mounts: Vec<Mount>) -> Self {
        self.rootfs = mounts;
        self
    }

    /// In this network namespace.
    pub fn network_namespace(mut self, path: impl Into<String>) -> Self {
        self.netns = path.into();
        self
    }

    /// With an annotation for the shim.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }
}
