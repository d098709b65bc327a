// SPDX-License-Identifier: Apache-2.0
//! Where the command's tests run: at our daemon, or at a containerd, with nothing different but what it serves.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use shimkeeper_testkit::deps::{self, Generation};
use shimkeeper_testkit::{Containerd, Terminal, TestDirs, oracle};

use crate::documented::is_documented;
use crate::real::{Host, Outcome, outcome};
use crate::support::{BINARY, until};

/// A daemon and what belongs to its tests.
pub(crate) struct Place {
    keeper: Keeper,
    namespace: String,
}

enum Keeper {
    Ours(Host),
    Containerd(Option<Containerd>, TestDirs),
}

impl Place {
    pub(crate) fn ours() -> Self {
        let host = Host::start(Generation::V2_1);
        let namespace = name(&host.daemon.dirs);
        Self { keeper: Keeper::Ours(host), namespace }
    }

    pub(crate) fn containerd() -> Self {
        let dirs = TestDirs::new();
        let namespace = name(&dirs);
        let containerd = Containerd::start(Generation::V2_1, &dirs, &namespace);
        Self { keeper: Keeper::Containerd(Some(containerd), dirs), namespace }
    }

    /// Our daemon, where it is ours.
    pub(crate) fn host(&mut self) -> &mut Host {
        match &mut self.keeper {
            Keeper::Ours(host) => host,
            Keeper::Containerd(..) => panic!("it is a containerd"),
        }
    }

    pub(crate) fn dirs(&self) -> &TestDirs {
        match &self.keeper {
            Keeper::Ours(host) => &host.daemon.dirs,
            Keeper::Containerd(_, dirs) => dirs,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where output is kept.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dirs().path().join("logs")
    }

    /// The command, told by its environment which daemon is meant.
    pub(crate) fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args.iter().map(AsRef::as_ref));
        command.env("SHIMKEEPER_ADDRESS", self.dirs().socket("c.sock"));
        command.env("CONTAINERD_NAMESPACE", &self.namespace).env("SHIMKEEPER_LOG_DIR", self.logs());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What it came to.
    pub(crate) fn ran<S: AsRef<str>>(&self, args: &[S]) -> Outcome {
        outcome(self.command(args).spawn().unwrap())
    }

    /// That it ended well and said nothing of trouble; what it printed.
    pub(crate) fn good<S: AsRef<str>>(&self, args: &[S]) -> String {
        let outcome = self.ran(args);
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{}", outcome.out);
        outcome.out
    }

    /// The object that it printed.
    pub(crate) fn object(&self, args: &[&str]) -> Value {
        let told = serde_json::from_str(&self.good(&[args, &["-o", "json"]].concat())).unwrap();
        is_documented(&told);
        told
    }

    /// That it failed, with one line of what and one of what next.
    pub(crate) fn bad<S: AsRef<str>>(&self, args: &[S], code: i32, what: &str, hint: &str) {
        let outcome = self.ran(args);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        let lines: Vec<&str> = outcome.err.lines().collect();
        let [said, next] = lines.try_into().unwrap_or_else(|_| panic!("{outcome:?}"));
        assert!(said.starts_with("shimkeeper: ") && said.contains(what), "{what} in {said}");
        assert!(next.starts_with("  hint: ") && next.contains(hint), "{hint} in {next}");
    }

    /// The arguments of `run` for a container of the tests.
    pub(crate) fn run(&self, flags: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        // By the variable the test finds its containers' processes.
        let mark = format!("SHIMKEEPER_TEST={}", self.dirs().path().display());
        let rootfs = deps::rootfs().display().to_string();
        let fixed = ["run", "--name", id, "--rootfs", &rootfs, "--read-only", "-e", &mark];
        [&fixed[..], flags, &["--"], command].concat().into_iter().map(str::to_owned).collect()
    }

    /// Starts a container that is left to the daemon.
    pub(crate) fn detach(&self, flags: &[&str], id: &str, script: &str) {
        let args = self.run(&[&["-d"], flags].concat(), id, &["/bin/sh", "-c", script]);
        assert_eq!(self.good(&args), format!("{id}\n"));
    }

    /// The command on this terminal.
    pub(crate) fn on(&self, terminal: &Terminal, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(terminal.stream()).stdout(terminal.stream()).stderr(terminal.stream());
        command.spawn().unwrap()
    }

    /// Waits until `inspect` tells that a container is this, whatever it says of its shim.
    pub(crate) fn becomes(&self, id: &str, status: &str) {
        until(&format!("{id} {status}"), || {
            let told: Value = serde_json::from_str(&self.ran(&["inspect", id, "-o", "json"]).out).unwrap();
            (told["containers"][0]["task"]["status"] == status).then_some(())
        });
    }

    /// Ends the daemon; nothing may be left, on disk or running.
    pub(crate) fn close(mut self) {
        let kept: Vec<_> = walk(&self.logs());
        assert!(kept.is_empty(), "output is still kept: {kept:?}");
        match &mut self.keeper {
            Keeper::Ours(host) => {
                assert!(host.daemon.stop().success());
                oracle::nothing_left(&host.daemon.dirs, &[]);
            }
            Keeper::Containerd(containerd, dirs) => {
                *containerd = None;
                assert_eq!(dirs.leftovers().processes, []);
            }
        }
    }
}

/// A namespace that no other test has.
fn name(dirs: &TestDirs) -> String {
    dirs.path().file_name().unwrap().to_str().unwrap().to_owned()
}

/// The directories of containers below that of the logs.
fn walk(logs: &std::path::Path) -> Vec<PathBuf> {
    let list = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    list(logs.to_owned()).flat_map(list).collect()
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Keeper::Containerd(containerd, dirs) = &mut self.keeper {
            *containerd = None;
            if std::thread::panicking() && dirs.sweep().is_ok() {
                oracle::sweep(dirs, &[]);
            }
        }
        // One for each namespace, and neither containerd nor `ctr` at ours ever removes it.
        let _ = std::fs::remove_dir(std::path::Path::new("/run/containerd/runc").join(&self.namespace));
    }
}
