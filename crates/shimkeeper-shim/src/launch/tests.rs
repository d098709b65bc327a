// SPDX-License-Identifier: Apache-2.0
//! Binaries that misbehave, as shell scripts; and real ones, where they are installed.

mod dialects;
mod misbehaviour;
mod real;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use shimkeeper_core::{HasKind as _, Incarnation, Kind};

use super::*;
use crate::identity::{Launch, Pidfd, ProcessIdentity, find_by_mark};
use crate::test_support::a_bundle;

/// A good answer.
const ANSWER: &str = r#"{"version":3,"address":"unix:///run/s/a","protocol":"ttrpc"}"#;

/// Enough for what is quick, however busy the machine is.
const LONG: Duration = Duration::from_mins(1);

/// A bundle, a binary that is a script, and the context to call it with.
struct Scene {
    dir: tempfile::TempDir,
    bundle: Bundle,
    binary: ShimBinary,
    cx: LaunchContext,
}

impl Scene {
    fn new(script: &str) -> Self {
        let (dir, bundle) = a_bundle();
        let path = dir.path().join("shim");
        write_script(&path, &format!("#!/bin/sh\nT={}\n{script}\n", dir.path().display()));
        let cx = LaunchContext {
            key: bundle.key().clone(),
            address: "/run/test/grpc.sock".into(),
            ttrpc_address: "/run/test/ttrpc.sock".into(),
            publish_binary: "/usr/bin/publisher".into(),
            debug: false,
            env: Vec::new(),
            mark: Incarnation::fresh(),
            socket_dir: None,
            version: "1.2.3".into(),
        };
        Self { binary: ShimBinary::at(&path).unwrap(), dir, bundle, cx }
    }

    async fn start(&self, deadline: Duration) -> Result<Started, LaunchError> {
        self.binary.start(&self.cx, &self.bundle, None, &DialectMemory::new(), deadline).await
    }

    async fn fails(&self, deadline: Duration) -> LaunchError {
        let error = self.start(deadline).await.unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 1200 && !text.chars().any(char::is_control), "{text:?}");
        error
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn launched(&self) -> Vec<ProcessIdentity> {
        find_by_mark(&Launch { mark: self.cx.mark, since: 0 }, &[]).unwrap().found
    }

    /// Every process of the launch is gone, and none waits to be reaped by us.
    async fn all_gone(&self) {
        eventually("every launched process is gone", || self.launched().is_empty()).await;
        eventually("every child is reaped", || zombies_of_ours(self.dir.path()).is_empty()).await;
    }

    fn kill_all(&self) {
        for identity in self.launched() {
            if let Some(pidfd) = Pidfd::open(&identity).unwrap() {
                pidfd.signal(Signal::KILL).unwrap();
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Written by a process that is gone afterwards. If we held it open for writing, another test's child could
/// inherit that for a moment, and running the script would fail with ETXTBSY.
fn write_script(path: &Path, script: &str) {
    let mut writer = std::process::Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// The pids that scripts wrote into `pid` files of the directory, as far as they are zombies.
fn zombies_of_ours(dir: &Path) -> Vec<u32> {
    let Ok(pid) = fs::read_to_string(dir.join("pid")) else { return Vec::new() };
    let pid: u32 = pid.trim().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    if stat.contains(") Z ") { vec![pid] } else { Vec::new() }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "within a minute: {what}");
}
