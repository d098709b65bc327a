// SPDX-License-Identifier: Apache-2.0
//! `cleanup` after runs that were killed, in a place where no other run is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;
use shimkeeper_testkit::{TestDirs, stop_process};

use crate::support::{Run, Running, readable};

/// Where runs have their private directories.
struct Place {
    dirs: TestDirs,
    base: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dirs = TestDirs::new();
        let base = dirs.path().join("base");
        std::fs::create_dir(&base).unwrap();
        Self { dirs, base }
    }

    /// A run of this script, which has said that it is ready.
    fn run(&self, script: &str) -> Running {
        let run = Run::new().with_own_places(&self.base, &self.dirs.sockets());
        let mut running = run.spawn(&["sh", "-c", script]);
        assert_eq!(running.line(), "ready\n");
        running
    }

    /// The same, and then killed in the way that nothing can be done about.
    fn killed_run(&self, script: &str) {
        let running = self.run(script);
        // The runtime removes this when it has started the container. It ends with the call that is broken off, and a
        // container whose start it did not come to the end of is called created for ever.
        let run = std::fs::read_dir(&self.base).unwrap().next().unwrap().unwrap().file_name();
        let fifo = self.base.join(&run).join("state/runc/default").join(&run).join("exec.fifo");
        let begun = Instant::now();
        while fifo.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is not started: {}", fifo.display());
            std::thread::yield_now();
        }
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code(), None);
    }

    /// What `cleanup` tells of the only run there is.
    fn cleanup(&self, flags: &[&str]) -> Value {
        let cleanup = Run::cleanup().flags(["-o", "json"]).flags(flags.iter().copied());
        let outcome = cleanup.with_own_places(&self.base, &self.dirs.sockets()).output(&[]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
        let mut report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(report["schema"], "shimkeeper.cleanup/1");
        assert_eq!(report["runs"].as_array().unwrap().len(), 1, "{report}");
        report["runs"][0].take()
    }

    fn is_empty(&self) {
        let left: Vec<_> =
            std::fs::read_dir(&self.base).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
        let left = self.dirs.leftovers();
        assert!(left.is_empty(), "{left}");
    }
}

fn pid_of(container: &Value) -> Pid {
    let pid = container["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    Pid::from_raw(pid.unwrap()).unwrap()
}

/// Sends a signal to a process and waits until it is gone.
fn end(pid: Pid, signal: Signal) {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    kill_process(pid, signal).unwrap();
    assert!(readable(&pidfd), "it did not end");
}

/// The parent of a process: of a container's first one, its shim.
fn parent(pid: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(line.trim().parse().unwrap()).unwrap()
}

#[test]
fn what_runs_is_kept_and_what_has_ended_is_removed_with_its_true_status() {
    let place = Place::new();
    place.killed_run("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
    // The container may have spoken before its shim knows that it is started.
    while place.cleanup(&[])["containers"][0]["status"] == "created" {}
    for _ in 0..2 {
        let run = place.cleanup(&[]);
        assert_eq!(
            (&run["outcome"], &run["containers"][0]["status"]),
            (&"kept".into(), &"running".into()),
            "{run}"
        );
    }
    let pid = pid_of(&place.cleanup(&[])["containers"][0]);
    end(pid, Signal::TERM);
    let run = place.cleanup(&[]);
    assert_eq!(run["outcome"], "removed", "{run}");
    let container = &run["containers"][0];
    assert_eq!((&container["exit"]["status"], &container["removed"]), (&7.into(), &true.into()), "{run}");
    place.is_empty();
}

#[test]
fn force_ends_what_runs_however_much_it_has_to_say() {
    for script in ["echo ready; exec sleep 600", "echo ready; exec yes"] {
        let place = Place::new();
        place.killed_run(script);
        let run = place.cleanup(&["--force"]);
        assert_eq!(
            (&run["outcome"], &run["containers"][0]["exit"]["status"]),
            (&"removed".into(), &137.into()),
            "{run}"
        );
        place.is_empty();
    }
}

#[test]
fn a_live_run_is_not_touched() {
    let place = Place::new();
    let running = place.run("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let run = place.cleanup(&["--force"]);
    assert_eq!((&run["outcome"], &run["manager_pid"]), (&"in use".into(), &running.pid().into()), "{run}");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(3));
    place.is_empty();
}

#[test]
fn what_cannot_be_reached_is_kept_and_told() {
    let place = Place::new();
    place.killed_run("echo ready; exec sleep 600");
    let shim = parent(pid_of(&place.cleanup(&[])["containers"][0]));
    stop_process(shim.as_raw_pid().unsigned_abs());
    let run = place.cleanup(&["--force"]);
    kill_process(shim, Signal::CONT).unwrap();
    let verdict = run["containers"][0]["verdict"].as_str().unwrap();
    assert!(run["outcome"] == "kept" && verdict.starts_with("unreachable: "), "{run}");
    assert_eq!(place.cleanup(&["--force"])["outcome"], "removed");
    place.is_empty();
}

#[test]
fn a_dead_shims_container_is_cleared_up() {
    let place = Place::new();
    place.killed_run("echo ready; exec sleep 600");
    let shim = parent(pid_of(&place.cleanup(&[])["containers"][0]));
    end(shim, Signal::KILL);
    let run = place.cleanup(&[]);
    assert_eq!(
        (&run["outcome"], &run["containers"][0]["verdict"]),
        (&"removed".into(), &"dead".into()),
        "{run}"
    );
    place.is_empty();
}
