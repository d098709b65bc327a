// SPDX-License-Identifier: Apache-2.0
//! A daemon in directories of its own: started at a moment that is known, ended, started again.
//!
//! It is started by a shell that has joined the control group before the clock starts, because joining one takes longer
//! than some daemons take to start. The shell waits at its standard input, and then becomes the daemon.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper_testkit::{TestDirs, oracle};
use tempfile::TempDir;

use crate::against::client::{CALL, Client};
use crate::against::error::AgainstError;
use crate::against::hybrid;
use crate::against::plane::Plane;
use crate::against::program::{Program, SHIM};
use crate::against::sockets;
use crate::args::Comparison;
use crate::error::BenchError;

const GATE: &str = r#"echo $$ > "$0" && echo && read -r go && exec "$@" < /dev/null > /dev/null"#;

/// Between two looks at whether it serves. Short beside what is measured, and hardly any work.
const LOOK: Duration = Duration::from_micros(200);

/// A daemon, whether it runs or not. Dropping it ends everything that it started.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) program: Program,
    pub(crate) plane: Plane,
    child: Option<Child>,
    ids: AtomicU32,
    root: TempDir,
    pub(crate) dirs: TestDirs,
}

impl Daemon {
    /// One that has not been started yet.
    pub(crate) fn new(program: &Program, shim: &Path, options: &Comparison) -> Result<Self, AgainstError> {
        let dirs = TestDirs::below(&options.state_dir);
        let root = tempfile::Builder::new().prefix("shimkeeper-bench-").tempdir_in(&options.root_dir);
        let root = root.map_err(AgainstError::file("make a directory in", &options.root_dir))?;
        let config = dirs.path().join("config.toml");
        std::fs::write(&config, program.config()).map_err(AgainstError::file("write", &config))?;
        // A daemon looks for shims on its search path; this is where it begins.
        let bin = dirs.path().join("bin");
        let linked = std::fs::create_dir(&bin).and_then(|()| symlink(shim, bin.join(SHIM)));
        linked.map_err(AgainstError::file("link the shim in", &bin))?;
        let plane = Plane::new(&dirs.cgroup())?;
        Ok(Self { program: program.clone(), plane, child: None, ids: AtomicU32::new(0), root, dirs })
    }

    pub(crate) fn address(&self) -> PathBuf {
        self.dirs.socket("c.sock")
    }

    /// An id that no container of this daemon had before.
    pub(crate) fn new_id(&self) -> String {
        id(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts it; answers when it was executed.
    pub(crate) fn launch(&mut self) -> Result<Instant, AgainstError> {
        let io = |e| BenchError::io("start a daemon", e);
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).map_err(io)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", GATE]).arg(self.plane.entrance()).arg(&self.program.binary);
        command.args(self.program.verb());
        command.arg("--config").arg(self.dirs.path().join("config.toml"));
        command.arg("--root").arg(self.root.path()).arg("--state").arg(self.dirs.state());
        command.arg("--address").arg(self.address());
        command.env("PATH", format!("{}:{path}", self.dirs.path().join("bin").display()));
        command.env_remove("SHIMKEEPER_LOG_LEVEL");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(io)?;
        let (mut gate, mut inside) = (child.stdin.take(), child.stdout.take());
        self.child = Some(child);
        let mut line = [0];
        if let Some(inside) = &mut inside {
            inside.read_exact(&mut line).map_err(io)?;
        }
        let began = Instant::now();
        if let Some(gate) = &mut gate {
            gate.write_all(&line).map_err(io)?;
        }
        Ok(began)
    }

    /// Waits until it has answered; the session that was used.
    pub(crate) async fn serves(&mut self) -> Result<Client, AgainstError> {
        let deadline = Instant::now() + CALL;
        loop {
            if let Ok(stream) = UnixStream::connect(self.address()) {
                let client = Client::over(stream).await?;
                client.version().await?;
                return Ok(client);
            }
            let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || Instant::now() >= deadline {
                return Err(self.failed(if ended { "ended" } else { "does not serve" }));
            }
            // Nothing else is to run here meanwhile.
            std::thread::park_timeout(LOOK);
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32, AgainstError> {
        self.child.as_ref().map(Child::id).ok_or_else(|| self.failed("does not run"))
    }

    /// Sends it a signal that ends it, and waits for that; answers how long it took.
    pub(crate) async fn end(&mut self, signal: Signal) -> Result<Duration, AgainstError> {
        let io = |e| BenchError::io("end a daemon", e);
        let began = Instant::now();
        let child = self.child.as_ref().map(Pid::from_child).ok_or_else(|| self.failed("does not run"))?;
        kill_process(child, signal).map_err(|e| io(e.into()))?;
        while let Some(child) = &mut self.child {
            if child.try_wait().map_err(io)?.is_some() {
                self.child = None;
            } else if began.elapsed() >= CALL {
                return Err(self.failed("does not end"));
            } else {
                // The sessions with it go on meanwhile, and are told that it leaves.
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(began.elapsed())
    }

    fn log_path(&self) -> PathBuf {
        self.dirs.path().join("log")
    }

    fn failed(&self, what: &'static str) -> AgainstError {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let skipped = log.lines().count().saturating_sub(10);
        let log = log.lines().skip(skipped).collect::<Vec<_>>().join("\n");
        AgainstError::Daemon { daemon: self.program.name(), what, log }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        // What a daemon leaves is a figure, and was counted by then.
        let _ = self.dirs.sweep();
        hybrid::tidy(&self.dirs.cgroup());
        oracle::sweep(&self.dirs, &[]);
        for number in 0..self.ids.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(sockets::of(&self.address(), &id(number)));
        }
    }
}

fn id(number: u32) -> String {
    format!("c{number}")
}
