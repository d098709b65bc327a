// SPDX-License-Identifier: Apache-2.0
//! The smallest OCI spec a test needs: enough for runc and a busybox root file system, readable in a failure.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

/// Builds a `config.json`.
///
/// The container has its own PID, IPC, UTS, mount and network namespaces, no terminal, and the capabilities of
/// nobody. The name of its cgroup begins with `/shimkeeper-test`, so that a sweep finds it;
/// it has no parent, which runtimes would make and never remove.
#[derive(Clone, Debug)]
pub struct TestSpec {
    spec: Value,
}

/// How the cgroups of tests begin.
pub const TEST_CGROUP: &str = "/shimkeeper-test";

impl TestSpec {
    /// A container named `id` on `rootfs`, running `sleep` for a time no test lasts.
    pub fn new(rootfs: impl AsRef<Path>, id: &str) -> Self {
        let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
        let spec = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": ["sleep", "3600"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
            },
            "root": { "path": rootfs.as_ref(), "readonly": true },
            "hostname": id,
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                {
                    "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
                },
            ],
            "annotations": {},
            "linux": {
                "namespaces": namespaces,
                "cgroupsPath": format!("{TEST_CGROUP}-{id}"),
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            },
        });
        Self { spec }
    }

    /// A container for the fake shim, which needs no root file system and reads what to do from the arguments.
    pub fn fake<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::new("rootfs", "fake").args(args)
    }

    /// Replaces the command.
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.spec["process"]["args"] = args.into_iter().map(|arg| json!(arg.as_ref())).collect();
        self
    }

    /// Replaces the path of the cgroup.
    pub fn cgroup(mut self, path: &str) -> Self {
        self.spec["linux"]["cgroupsPath"] = json!(path);
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.spec["annotations"][key] = json!(value);
        self
    }

    /// Gives the container a script of its own, if the fake shim runs it.
    pub fn script(self, script: &crate::Script) -> Self {
        self.annotation(crate::ANNOTATION, &script.to_json())
    }

    /// Changes whatever else a test is about.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.spec);
        self
    }

    /// The bytes of `config.json`.
    pub fn to_bytes(&self) -> Bytes {
        self.spec.to_string().into()
    }

    /// The bytes of a process spec with these arguments, for an exec in such a container.
    pub fn process<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Bytes {
        self.clone().args(args).spec["process"].to_string().into()
    }
}
