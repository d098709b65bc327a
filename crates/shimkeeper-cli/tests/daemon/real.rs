// SPDX-License-Identifier: Apache-2.0
//! What the suites with real shims share: a daemon whose shims are of one generation, and that generation's `ctr`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;
use serde_json::Value;
use shimkeeper_testkit::deps::{self, Generation};
use shimkeeper_testkit::{TestDirs, oracle};

use crate::support::{BINARY, Daemon, collect, ended_within, output, plain, until};

/// A daemon and a client of it.
pub(crate) struct Host {
    pub(crate) daemon: Daemon,
    generation: Generation,
    /// Where `ctr` makes its containers.
    namespace: String,
}

/// `ctr`, for a daemon that comes and goes meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: PathBuf,
    generation: Generation,
    namespace: String,
    fifos: PathBuf,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The daemon, with shims of this generation first on its search path.
pub(crate) fn with_shims(dirs: &TestDirs, generation: Generation) -> Command {
    let mut command = plain(dirs);
    let old = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(deps::bin_dir(generation)).chain(std::env::split_paths(&old));
    command.env("PATH", std::env::join_paths(path).unwrap());
    command
}

impl Host {
    pub(crate) fn start(generation: Generation) -> Self {
        assert!(rustix::process::geteuid().is_root(), "containers take root");
        Self::configured(generation, "")
    }

    /// One with this configuration.
    pub(crate) fn configured(generation: Generation, configuration: &str) -> Self {
        let dirs = TestDirs::new();
        std::fs::write(dirs.path().join("config.toml"), configuration).unwrap();
        let daemon = Daemon::start_in(dirs, Self::command(generation));
        Self { daemon, generation, namespace: "default".to_owned() }
    }

    /// One whose containers may have the names of others': the runtime keeps them apart by their namespaces.
    pub(crate) fn apart(generation: Generation) -> Self {
        let mut host = Self::start(generation);
        host.namespace = host.daemon.dirs.path().file_name().unwrap().to_str().unwrap().to_owned();
        host
    }

    /// Where `ctr` makes its containers.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn command(generation: Generation) -> fn(&TestDirs) -> Command {
        match generation {
            Generation::V1_6 => |dirs| with_shims(dirs, Generation::V1_6),
            Generation::V1_7 => |dirs| with_shims(dirs, Generation::V1_7),
            Generation::V2_1 => |dirs| with_shims(dirs, Generation::V2_1),
        }
    }

    /// A client that needs nothing of this.
    pub(crate) fn client(&self) -> Client {
        Client {
            address: self.daemon.address(),
            generation: self.generation,
            namespace: self.namespace.clone(),
            fifos: self.fifos(),
        }
    }

    /// Where `ctr` makes its FIFOs, of which it forgets some: those of an exec it does not wait for.
    fn fifos(&self) -> PathBuf {
        self.daemon.dirs.path().join("fifo")
    }

    /// `ctr` with these arguments.
    pub(crate) fn ctr<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Outcome {
        self.client().ctr(args)
    }

    /// That it ended well; what it printed.
    pub(crate) fn good<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> String {
        let outcome = self.ctr(args);
        assert_eq!(outcome.code, Some(0), "{outcome:?}\n{}", self.daemon.log());
        outcome.out
    }

    /// That it failed, saying this.
    pub(crate) fn bad<'a>(&self, args: impl IntoIterator<Item = &'a str>, said: &str) {
        let outcome = self.ctr(args);
        assert!(outcome.code != Some(0) && outcome.err.contains(said), "{said} in {outcome:?}");
    }

    /// `ctr` that goes on while the test does something else.
    pub(crate) fn spawn<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Child {
        self.client().command(args).spawn().unwrap()
    }

    /// `ctr` on a terminal of its own; what was on it.
    pub(crate) fn on_terminal(&self, args: &[String]) -> Outcome {
        let ctr = deps::bin_dir(self.generation).join("ctr");
        let line =
            format!("{} --address {} {}", ctr.display(), self.daemon.address().display(), args.join(" "));
        let mut command = Command::new("script");
        command.env("CONTAINERD_NAMESPACE", &self.namespace);
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        outcome(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The arguments of `ctr run` for a container of the tests: flags, its id, its command.
    pub(crate) fn run(&self, flags: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        let dirs = &self.daemon.dirs;
        let mut args = vec!["run".to_owned()];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        args.extend(["--rootfs", "--read-only"].map(str::to_owned));
        args.extend(["--fifo-dir".to_owned(), self.fifos().display().to_string()]);
        args.extend(["--cgroup".to_owned(), format!("{}/{id}", dirs.cgroup())]);
        // By this the test finds its containers' processes.
        args.extend(["--env".to_owned(), format!("SHIMKEEPER_TEST={}", dirs.path().display())]);
        args.extend([deps::rootfs().display().to_string(), id.to_owned()]);
        args.extend(command.iter().map(|word| (*word).to_owned()));
        args
    }

    /// A container that runs until it is killed.
    pub(crate) fn sleeper(&self, id: &str) {
        self.good(words(&self.run(&["-d"], id, &["/bin/sleep", "3600"])));
    }

    /// The state that `ctr tasks ls` shows.
    pub(crate) fn state(&self, id: &str) -> Option<String> {
        let listed = self.good(["tasks", "ls"]);
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(id))?;
        line.split_whitespace().nth(2).map(str::to_owned)
    }

    /// Waits until it shows this one.
    pub(crate) fn becomes(&self, id: &str, state: &str) {
        until(&format!("{id} {state}"), || (self.state(id).as_deref() == Some(state)).then_some(()));
    }

    /// Kills a container, and removes it.
    pub(crate) fn remove(&self, id: &str) {
        self.good(["tasks", "kill", "--signal", "KILL", id]);
        self.becomes(id, "STOPPED");
        // It says by an exit code of its own that the task did not end well.
        self.ctr(["tasks", "rm", id]);
        self.good(["containers", "rm", id]);
    }

    /// Ends the daemon; nothing may be left.
    pub(crate) fn close(mut self) {
        assert!(self.daemon.stop().success());
        oracle::nothing_left(&self.daemon.dirs, &[]);
    }
}

impl Client {
    fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(deps::bin_dir(self.generation).join("ctr"));
        command.arg("--address").arg(&self.address).env("CONTAINERD_NAMESPACE", &self.namespace);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut args = args.into_iter().peekable();
        while let Some(word) = args.next() {
            command.arg(word);
            if word == "tasks" && args.next_if_eq(&"exec").is_some() {
                command.arg("exec").arg("--fifo-dir").arg(&self.fifos);
            }
        }
        command
    }

    /// `ctr` with these arguments.
    pub(crate) fn ctr<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Outcome {
        outcome(self.command(args).spawn().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() && self.daemon.dirs.sweep().is_ok() {
            oracle::sweep(&self.daemon.dirs, &[]);
        }
        if self.namespace != "default" {
            // runc makes one for each namespace, and nobody removes it.
            let _ = std::fs::remove_dir(Path::new("/run/containerd/runc").join(&self.namespace));
        }
    }
}

/// The process id of the shim of this container.
pub(crate) fn shim(host: &Host, id: &str) -> Pid {
    let mut command = Command::new(BINARY);
    command.args(["inspect", id, "-o", "json"]).env("SHIMKEEPER_ADDRESS", host.daemon.address());
    let (_, out, _) = output(command.env_remove("CONTAINERD_NAMESPACE"));
    let shown: Value = serde_json::from_str(&out).unwrap();
    let pid = shown["containers"][0]["shim"]["pid"].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

pub(crate) fn words(args: &[String]) -> impl Iterator<Item = &str> {
    args.iter().map(String::as_str)
}

/// Waits for its end.
pub(crate) fn outcome(child: Child) -> Outcome {
    let mut child = child;
    if !ended_within(&child, crate::support::PATIENCE) {
        child.kill().unwrap();
        let (_, out, err) = collect(child);
        panic!("it did not end; it said {out:?} {err:?}");
    }
    let (code, out, err) = collect(child);
    Outcome { code, out, err }
}
