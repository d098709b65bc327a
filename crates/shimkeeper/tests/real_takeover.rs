// SPDX-License-Identifier: Apache-2.0
//! A state directory of containerd's, with a container running in it, is taken over as it is: containerd is killed, a
//! manager is opened on its directories, and the container is there, with its true exit.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shimkeeper::events::{Filters, TaskEvent};
use shimkeeper::{Config, Manager, Provenance, TaskKey, Verdict};
use shimkeeper_testkit::TestDirs;
use shimkeeper_testkit::deps::{self, Generation};

const PATIENCE: Duration = Duration::from_secs(30);

/// A containerd of its own, killed when dropped.
struct Containerd {
    bin: PathBuf,
    socket: PathBuf,
    namespace: String,
    child: Child,
}

impl Containerd {
    fn start(generation: Generation, dirs: &TestDirs) -> Self {
        let bin = deps::bin_dir(generation);
        let socket = dirs.socket("c.sock");
        let config = dirs.path().join("config.toml");
        std::fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let child = Command::new(bin.join("containerd"))
            .args(["--config".as_ref(), config.as_os_str(), "--address".as_ref(), socket.as_os_str()])
            .args(["--state".as_ref(), dirs.state().as_os_str(), "--root".as_ref(), dirs.root().as_os_str()])
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Every containerd of a host keeps runc's state in one place: a namespace of its own keeps them apart.
        let namespace = format!("takeover-{generation:?}").replace('_', "-");
        let this = Self { bin, socket, namespace, child };
        let ends = Instant::now() + PATIENCE;
        while !this.ctr(&["version"]) {
            assert!(Instant::now() < ends, "containerd does not serve");
        }
        this
    }

    fn ctr(&self, args: &[&str]) -> bool {
        let mut command = Command::new(self.bin.join("ctr"));
        command.arg("--address").arg(&self.socket).args(["--namespace", &self.namespace]).args(args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn take_over(generation: Generation) {
    let dirs = TestDirs::new();
    let containerd = Containerd::start(generation, &dirs);
    let rootfs = deps::rootfs();
    let rootfs = rootfs.to_str().unwrap();
    for (id, script) in [("stays", "exec sleep 100"), ("ends", "read line < /dev/zero; exit 9")] {
        let cgroup = format!("/shimkeeper-test-{}-{id}", containerd.namespace);
        let fifos = dirs.path().join("fifos");
        let run = [
            "run",
            "-d",
            "--fifo-dir",
            fifos.to_str().unwrap(),
            "--cgroup",
            cgroup.as_str(),
            "--rootfs",
            rootfs,
            id,
            "/bin/sh",
            "-c",
            script,
        ];
        assert!(containerd.ctr(&run), "ctr {run:?}");
    }
    let namespace = containerd.namespace.clone();
    containerd.kill();

    let config = Config::new(dirs.state(), dirs.root());
    let (manager, mut events) = Manager::open_with_events(config, Filters::everything()).await.unwrap();
    let adoption = tokio::time::timeout(PATIENCE, manager.adopted()).await.unwrap();
    let key = |id: &str| TaskKey::parse(&namespace, id).unwrap();
    for id in ["stays", "ends"] {
        assert_eq!(adoption.verdict(&key(id)), Some(&Verdict::Adopted), "{generation:?}");
    }

    let (stays, ends) = (manager.get(&key("stays")).unwrap(), manager.get(&key("ends")).unwrap());
    let pid = stays.pid().unwrap();
    assert!(alive(pid) && alive(ends.pid().unwrap()), "{generation:?}: nothing was killed");
    stays.kill(15, false).await.unwrap_or_else(|e| panic!("{generation:?}: {e}"));
    stays.kill(9, false).await.ok();
    let exit = tokio::time::timeout(PATIENCE, stays.wait()).await.unwrap().unwrap();
    assert_eq!((exit.pid, exit.provenance), (pid, Provenance::Observed), "{generation:?}");
    assert!(matches!(exit.status, 137 | 143), "{generation:?}: {exit:?}");
    stays.delete().await.unwrap();

    let ends = manager.get(&key("ends")).unwrap();
    ends.kill(9, true).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, ends.wait()).await.unwrap().unwrap().status, 137);
    ends.delete().await.unwrap();
    assert!(manager.list().is_empty());
    let mut exits = 0;
    while let Some(event) = events.try_next().unwrap() {
        exits += usize::from(matches!(TaskEvent::decode(&event), Ok(Some((_, TaskEvent::Exit { .. })))));
    }
    assert_eq!(exits, 2, "{generation:?}: one exit each");
    manager.detach().await;
    dirs.sweep().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn real_containerd_1_7_is_taken_over() {
    take_over(Generation::V1_7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_containerd_2_1_is_taken_over() {
    take_over(Generation::V2_1).await;
}
