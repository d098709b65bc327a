// SPDX-License-Identifier: Apache-2.0
//! Starts the command, waits for it with a deadline, and clears up the control groups that runtimes leave.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use shimkeeper_testkit::deps;

/// Far more than any of these takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const BINARY: &str = env!("CARGO_BIN_EXE_shimkeeper");

/// A `shimkeeper` that is being put together.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
    pub(crate) stderr: Option<BufReader<ChildStderr>>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// With nothing but a namespace that no other test has.
    pub(crate) fn bare() -> Self {
        let mut command = Command::new(BINARY);
        command.arg("run").stdin(Stdio::null());
        Self { command }
    }

    /// `shimkeeper cleanup`.
    pub(crate) fn cleanup() -> Self {
        let mut command = Command::new(BINARY);
        command.arg("cleanup").stdin(Stdio::null());
        Self { command }
    }

    /// In the root filesystem of the tests.
    pub(crate) fn new() -> Self {
        Self::bare().flag("--rootfs").flag(deps::rootfs())
    }

    pub(crate) fn flag(mut self, flag: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(flag);
        self
    }

    pub(crate) fn flags<'a>(mut self, flags: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(flags);
        self
    }

    /// With a variable in our own environment.
    pub(crate) fn own_env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// With all three streams on this terminal.
    pub(crate) fn on_terminal(mut self, terminal: &impl AsFd) -> Self {
        let stream = || Stdio::from(terminal.as_fd().try_clone_to_owned().unwrap());
        self.command.stdin(stream()).stdout(stream()).stderr(stream());
        self
    }

    /// With its standard output on a disk that is full.
    pub(crate) fn onto_full_disk(mut self) -> Self {
        let full = File::options().write(true).open("/dev/full").unwrap();
        self.command.stdout(full).stderr(Stdio::piped());
        self
    }

    /// Where the unified hierarchy of a host that has both kinds of control groups is out of sight, because crun
    /// refuses such a host.
    pub(crate) fn without_hybrid_cgroups(mut self) -> Self {
        const UNIFIED: &str = "/sys/fs/cgroup/unified";
        if !Path::new(UNIFIED).join("cgroup.procs").exists() {
            return self;
        }
        self = self.after(&format!("umount {UNIFIED}"));
        self
    }

    /// With these directories in the place of those that everybody on the machine shares: for private directories
    /// of runs, and for the sockets of shims.
    pub(crate) fn with_own_places(self, base: &Path, sockets: &Path) -> Self {
        let bind = |own: &Path, shared: &str| {
            format!("mkdir -p {shared} && mount --bind {} {shared}", own.display())
        };
        let binds = [bind(base, "/run/shimkeeper"), bind(sockets, "/run/containerd/s")];
        self.after(&binds.join(" && "))
    }

    /// After these changes to the mounts that it sees, and nobody else.
    fn after(self, changes: &str) -> Self {
        let script = format!("mount --make-rprivate / && {changes} && exec \"$@\"");
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "sh", "-c", &script, "sh"]);
        outer.arg(self.command.get_program()).args(self.command.get_args()).stdin(Stdio::null());
        Self { command: outer }
    }

    /// Starts it with pipes.
    pub(crate) fn spawn(mut self, container: &[&str]) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn_as_it_is(container)
    }

    /// Starts it with the streams it has been given.
    pub(crate) fn spawn_as_it_is(mut self, container: &[&str]) -> Running {
        let mut child = self.command.args(container).spawn().unwrap();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = (stdout.map(BufReader::new), stderr.map(BufReader::new));
        Running { child, stdin, stdout, stderr }
    }

    /// Runs it to its end, without input.
    pub(crate) fn output(self, container: &[&str]) -> Outcome {
        self.output_with_input(container, Vec::new())
    }

    /// Runs it to its end with this input.
    pub(crate) fn output_with_input(self, container: &[&str], input: Vec<u8>) -> Outcome {
        let mut running = self.spawn(container);
        let mut stdin = running.stdin.take().unwrap();
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let (stdout, stderr) = (running.stdout.take().unwrap(), running.stderr.take().unwrap());
        let reading = std::thread::spawn(move || read_all(stderr));
        let watching = running.watch();
        let stdout = read_all(stdout);
        // The container may end without having read all of it.
        let _ = writing.join().unwrap();
        let code = watching.join().unwrap().code();
        Outcome { code, stdout, stderr: reading.join().unwrap() }
    }
}

fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

impl Running {
    /// The next line of its standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and takes what it said on standard error.
    pub(crate) fn outcome(mut self) -> Outcome {
        let stderr = self.stderr.take().unwrap();
        let watching = self.watch();
        let stderr = read_all(stderr);
        Outcome { code: watching.join().unwrap().code(), stdout: String::new(), stderr }
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Waits for its end on a thread of its own, so that a test that reads its output comes to an end too.
    fn watch(self) -> std::thread::JoinHandle<ExitStatus> {
        // All of it goes there, not only the child, so that its control groups are let go of after its end.
        std::thread::spawn(move || self.wait())
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let in_time = readable(&pidfd);
    // Interrupted often enough it kills its container, which the test would otherwise leave behind.
    while !in_time && !readable_within(&pidfd, Duration::from_millis(200)) {
        kill_process(pid, Signal::INT).unwrap();
    }
    let status = child.wait().unwrap();
    assert!(in_time, "it did not end within {PATIENCE:?}");
    status
}

/// Waits until there is something to read, or the end; whether it came in time.
pub(crate) fn readable(fd: &impl AsFd) -> bool {
    readable_within(fd, PATIENCE)
}

fn readable_within(fd: &impl AsFd, patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience)).unwrap() > 0
}

impl Outcome {
    /// That it ended well and said nothing about it; answers what the container wrote.
    pub(crate) fn success(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }
}
