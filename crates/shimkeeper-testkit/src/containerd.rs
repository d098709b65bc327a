// SPDX-License-Identifier: Apache-2.0
//! A containerd of a test's own, on the test's directories.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::TestDirs;
use crate::deps::{self, Generation};

/// How long it may take until it serves.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running containerd, and the `ctr` that belongs to it. Killed when dropped; its tasks go on.
#[derive(Debug)]
pub struct Containerd {
    bin: PathBuf,
    socket: PathBuf,
    namespace: String,
    child: Child,
}

impl Containerd {
    /// Starts it, and waits until it serves. Every containerd of a host keeps runc's state in one place: the
    /// namespace keeps tests apart, and is that of every `ctr`.
    ///
    /// # Panics
    /// If it does not serve.
    pub fn start(generation: Generation, dirs: &TestDirs, namespace: &str) -> Self {
        let bin = deps::bin_dir(generation);
        let socket = dirs.socket("c.sock");
        let config = dirs.path().join("config.toml");
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(&config, text).expect("the configuration can be written");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let child = Command::new(bin.join("containerd"))
            .args(["--config".as_ref(), config.as_os_str(), "--address".as_ref(), socket.as_os_str()])
            .args(["--state".as_ref(), dirs.state().as_os_str(), "--root".as_ref(), dirs.root().as_os_str()])
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("containerd starts");
        let this = Self { bin, socket, namespace: namespace.to_owned(), child };
        let ends = Instant::now() + PATIENCE;
        while !this.ctr(&["version"]).status.success() {
            assert!(Instant::now() < ends, "containerd does not serve");
        }
        this
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs `ctr`, whatever comes of it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn ctr(&self, args: &[&str]) -> Output {
        let mut command = Command::new(self.bin.join("ctr"));
        command.arg("--address").arg(&self.socket).args(["--namespace", &self.namespace]).args(args);
        command.stdin(Stdio::null()).output().expect("ctr starts")
    }

    /// Runs `ctr`; answers what it wrote.
    ///
    /// # Panics
    /// If it fails.
    pub fn told(&self, args: &[&str]) -> String {
        let output = self.ctr(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `ctr run -d`: a container with busybox, in a cgroup that is the test's.
    ///
    /// # Panics
    /// If it fails.
    pub fn run_detached(&self, dirs: &TestDirs, id: &str, script: &str) {
        self.run_detached_with(dirs, &[], id, script);
    }

    /// The same, with more options of `ctr run`.
    ///
    /// # Panics
    /// If it fails.
    pub fn run_detached_with(&self, dirs: &TestDirs, options: &[&str], id: &str, script: &str) {
        let cgroup = format!("/shimkeeper-test-{}-{id}", self.namespace);
        let (fifos, rootfs) = (dirs.path().join("fifos"), deps::rootfs());
        let (fifos, rootfs) = (fifos.to_string_lossy(), rootfs.to_string_lossy());
        let place = ["--fifo-dir", &fifos, "--cgroup", &cgroup, "--rootfs", &rootfs];
        self.told(&[&["run", "-d"], options, &place, &[id, "/bin/sh", "-c", script]].concat());
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
