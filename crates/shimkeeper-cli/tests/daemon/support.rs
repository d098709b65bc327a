// SPDX-License-Identifier: Apache-2.0
//! A daemon on directories of its own, as a service manager runs it: told apart from others by nothing but them.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use shimkeeper_testkit::TestDirs;

/// Far more than any of it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_shimkeeper");

/// A daemon and its directories.
pub(crate) struct Daemon {
    child: Option<Child>,
    notify: UnixDatagram,
    command: fn(&TestDirs) -> Command,
    pub(crate) dirs: TestDirs,
}

/// The daemon with its flags.
pub(crate) fn plain(dirs: &TestDirs) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("daemon").args(flags(dirs)).env_remove("SHIMKEEPER_LOG_LEVEL");
    command
}

/// The same command within limits, as the shell's `ulimit` sets them.
pub(crate) fn limited(command: &Command, limits: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// The flags that keep a daemon to its directories.
pub(crate) fn flags(dirs: &TestDirs) -> [PathBuf; 8] {
    let (config, address) = (dirs.path().join("config.toml"), dirs.socket("c.sock"));
    if !config.exists() {
        std::fs::write(&config, "").unwrap();
    }
    let flag = |name: &str| PathBuf::from(name);
    [
        flag("--config"),
        config,
        flag("--root"),
        dirs.root(),
        flag("--state"),
        dirs.state(),
        flag("--address"),
        address,
    ]
}

impl Daemon {
    /// One that serves.
    pub(crate) fn start() -> Self {
        Self::start_as(plain)
    }

    /// One that serves, started in some other way.
    pub(crate) fn start_as(command: fn(&TestDirs) -> Command) -> Self {
        Self::start_in(TestDirs::new(), command)
    }

    pub(crate) fn start_in(dirs: TestDirs, command: fn(&TestDirs) -> Command) -> Self {
        let notify = UnixDatagram::bind(dirs.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut daemon = Self { child: None, notify, command, dirs };
        daemon.launch();
        daemon.heard("READY=1");
        daemon
    }

    /// Starts its process, again if it had one before; whether it serves is another matter.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = (self.command)(&self.dirs);
        command.env("NOTIFY_SOCKET", self.dirs.path().join("notify"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Waits until it has told its service manager this; answers all that it said until then.
    pub(crate) fn heard(&self, what: &str) -> Vec<String> {
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{what} not heard ({error}), but {said:?}; the log says:\n{}", self.log())
            });
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let is_it = text.lines().any(|line| line == what);
            said.push(text);
            if is_it {
                return said;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Tells it to end, and waits for that.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Kills it, and waits for that.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let in_time = ended_within(&child, PATIENCE);
        if !in_time {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        assert!(in_time, "the daemon did not end; the log says:\n{}", self.log());
        status
    }

    /// Starts it again on the same directories, and waits until it serves.
    pub(crate) fn start_again(&mut self) {
        self.launch();
        self.heard("READY=1");
    }

    /// The same, in some other way.
    pub(crate) fn start_again_as(&mut self, command: fn(&TestDirs) -> Command) {
        self.command = command;
        self.start_again();
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dirs.path().join("log")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Waits until it has logged this.
    pub(crate) fn logged(&self, what: &str) -> String {
        until(&format!("{what} in the log"), || Some(self.log()).filter(|log| log.contains(what)))
    }

    /// The socket of clients.
    pub(crate) fn address(&self) -> PathBuf {
        self.dirs.socket("c.sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the daemon's log:\n{}", self.log());
        }
        let mut child = self.child.take().unwrap();
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        if !ended_within(&child, PATIENCE) {
            let _ = child.kill();
        }
        let _ = child.wait();
    }
}

pub(crate) fn ended_within(child: &Child, patience: Duration) -> bool {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let patience = Timespec::try_from(patience).unwrap();
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)).unwrap() > 0
}

/// Looks again and again until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Runs it to its end; its exit code, standard output and standard error.
pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    collect(child)
}

/// Waits for its end; its exit code, standard output and standard error.
pub(crate) fn collect(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The mode of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o7777
}
