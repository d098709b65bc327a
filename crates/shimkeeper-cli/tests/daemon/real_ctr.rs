// SPDX-License-Identifier: Apache-2.0
//! `ctr` of three generations, unchanged, each with the shim of its own: what people do with it, and what it says when
//! it cannot.

use std::io::{BufRead as _, BufReader};

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper_testkit::deps::Generation;

use crate::real::{Host, outcome, words};
use crate::support::until;

/// Every case for every generation, each a test.
macro_rules! for_each_generation {
    ($($case:ident),+ $(,)?) => {
        mod v1_6 { $(#[test] fn $case() { super::$case(super::Generation::V1_6); })+ }
        mod v1_7 { $(#[test] fn $case() { super::$case(super::Generation::V1_7); })+ }
        mod v2_1 { $(#[test] fn $case() { super::$case(super::Generation::V2_1); })+ }
    };
}

for_each_generation!(
    a_command_runs_and_its_output_and_code_come_back,
    a_container_in_the_background_is_lived_with,
    it_is_attached_to,
    everything_that_happens_is_told,
    names_labels_and_leases_are_kept,
    what_cannot_be_is_refused_as_containerd_does,
    a_restart_is_not_noticed,
);

fn a_command_runs_and_its_output_and_code_come_back(generation: Generation) {
    let host = Host::apart(generation);
    let out = host.good(words(&host.run(&["--rm"], "echo", &["/bin/echo", "hello"])));
    assert_eq!(out, "hello\n");
    let failed = host.ctr(words(&host.run(&["--rm"], "fails", &["/bin/sh", "-c", "echo no >&2; exit 7"])));
    assert_eq!((failed.code, failed.err.as_str()), (Some(7), "no\n"));
    let seen = host.on_terminal(&host.run(&["--rm", "-t"], "tty", &["/bin/tty"]));
    assert_eq!(seen.code, Some(0), "{seen:?}");
    assert!(seen.out.contains("/dev/"), "it is on a terminal: {seen:?}");
    assert_eq!(host.good(["containers", "ls", "-q"]), "");
    host.close();
}

fn a_container_in_the_background_is_lived_with(generation: Generation) {
    let host = Host::apart(generation);
    host.sleeper("web");
    assert_eq!(host.state("web").as_deref(), Some("RUNNING"));
    assert!(host.good(["tasks", "ps", "web"]).lines().count() == 2, "a heading and one process");
    assert_eq!(host.good(["tasks", "exec", "--exec-id", "e1", "web", "/bin/echo", "inside"]), "inside\n");
    let code = host.ctr(["tasks", "exec", "--exec-id", "e1", "web", "/bin/sh", "-c", "exit 3"]).code;
    assert_eq!(code, Some(3), "the id of an exec that is over is free again");
    host.good(["tasks", "exec", "-d", "--exec-id", "e2", "web", "/bin/sleep", "3600"]);
    assert_eq!(host.good(["tasks", "ps", "web"]).lines().count(), 3);
    host.good(["tasks", "kill", "--exec-id", "e2", "--signal", "KILL", "web"]);

    let metrics = host.good(["tasks", "metrics", "web"]);
    assert!(metrics.contains("web") && metrics.to_lowercase().contains("pids"), "{metrics}");
    host.good(["tasks", "pause", "web"]);
    assert_eq!(host.state("web").as_deref(), Some("PAUSED"));
    host.bad(["tasks", "exec", "--exec-id", "e3", "web", "/bin/true"], "cannot exec in a paused state");
    host.good(["tasks", "resume", "web"]);
    assert_eq!(host.state("web").as_deref(), Some("RUNNING"));
    host.bad(["tasks", "rm", "web"], "task must be stopped before deletion");
    host.bad(["containers", "rm", "web"], "cannot delete a non stopped container");
    host.remove("web");
    assert_eq!(host.good(["tasks", "ls", "-q"]), "");
    host.close();
}

fn it_is_attached_to(generation: Generation) {
    let host = Host::apart(generation);
    host.sleeper("here");
    let attached = host.spawn(["tasks", "attach", "here"]);
    // A signal to the one that is attached is one to the container, once that is so; init ignores what it does not handle.
    let pid = Pid::from_child(&attached);
    host.good(["tasks", "kill", "--signal", "KILL", "here"]);
    let seen = outcome(attached);
    assert_eq!(seen.code, Some(137), "{seen:?} {pid:?}");
    host.ctr(["tasks", "rm", "here"]);
    host.good(["containers", "rm", "here"]);
    host.close();
}

fn everything_that_happens_is_told(generation: Generation) {
    let host = Host::apart(generation);
    let mut events = host.spawn(["events"]);
    let lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // Nothing says that it is subscribed, so something is made to happen until it is told.
    let (told, heard) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    let mut number = 0;
    until("subscription", || {
        number += 1;
        host.good(["namespaces", "create", &format!("n{number}")]);
        heard.recv_timeout(std::time::Duration::from_millis(100)).ok()
    });
    host.good(words(&host.run(&["--rm"], "one", &["/bin/true"])));
    let mut topics = Vec::new();
    while topics.last().map(String::as_str) != Some("/containers/delete") {
        let line = heard.recv_timeout(crate::support::PATIENCE).unwrap();
        let topic = line.split_whitespace().find(|word| word.starts_with('/')).unwrap_or_default().to_owned();
        if !topic.starts_with("/namespaces") {
            topics.push(topic);
        }
    }
    kill_process(Pid::from_child(&events), Signal::KILL).unwrap();
    events.wait().unwrap();
    reading.join().unwrap();
    let expected = [
        "/containers/create",
        "/tasks/create",
        "/tasks/start",
        "/tasks/exit",
        "/tasks/delete",
        "/containers/delete",
    ];
    assert_eq!(topics, expected);
    for number in 1..=number {
        host.good(["namespaces", "rm", &format!("n{number}")]);
    }
    host.close();
}

fn names_labels_and_leases_are_kept(generation: Generation) {
    let mut host = Host::apart(generation);
    host.good(["namespaces", "create", "team", "color=blue"]);
    host.good(["namespaces", "label", "team", "color=red"]);
    host.bad(["namespaces", "create", "team"], "already exists");
    host.bad(["namespaces", "create", "no space"], "must match");
    host.sleeper("kept");
    host.good(["containers", "label", "kept", "tier=front"]);
    host.good(["leases", "create", "--id", "held"]);
    host.daemon.kill();
    host.daemon.start_again();

    assert!(
        host.good(["namespaces", "ls"])
            .lines()
            .any(|line| line.contains("team") && line.contains("color=red"))
    );
    assert!(host.good(["leases", "ls", "-q"]).contains("held"));
    assert_eq!(host.good(["containers", "ls", "-q", "labels.tier==front"]), "kept\n");
    assert_eq!(host.good(["containers", "ls", "-q", "labels.tier==back"]), "");
    let info = host.good(["containers", "info", "kept"]);
    assert!(info.contains("\"tier\": \"front\"") && info.contains("/bin/sleep"), "{info}");
    host.bad(["namespaces", "rm", host.namespace()], "must be empty");
    host.good(["leases", "rm", "held"]);
    host.good(["namespaces", "rm", "team"]);
    host.remove("kept");
    let version = host.good(["version"]);
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let plugins = host.good(["plugins", "ls"]);
    assert!(
        plugins.lines().any(|line| line.contains("io.containerd.runtime.v2") && line.contains("ok")),
        "{plugins}"
    );
    host.close();
}

fn what_cannot_be_is_refused_as_containerd_does(generation: Generation) {
    let host = Host::apart(generation);
    let run = |flags: &[&str], id: &str, command: &[&str], said: &str| {
        host.bad(words(&host.run(flags, id, command)), said);
    };
    run(
        &["--rm"],
        "nope",
        &["/bin/nope"],
        "failed to create shim task: OCI runtime create failed: runc create failed:",
    );
    run(&["--rm"], "nope", &["/bin/nope"], "no such file or directory");
    run(&["--rm", "--runtime", "io.containerd.bogus.v9"], "rt", &["/bin/true"], "containerd-shim-bogus-v9");
    run(&["--rm"], "bad..id", &["/bin/true"], "must match");
    host.sleeper("twice");
    run(&["-d"], "twice", &["/bin/true"], "already exists");
    host.bad(["tasks", "exec", "--exec-id", "x", "twice", "/bin/nope"], "/bin/nope");
    host.bad(["tasks", "kill", "--exec-id", "zz", "twice"], "not found");
    host.bad(["tasks", "kill", "none"], "not found");
    host.bad(["containers", "info", "none"], "not found");
    host.bad(["images", "pull", "example.invalid/x:latest"], "");
    host.remove("twice");
    host.close();
}

/// Whether a process has a handler for the signal.
fn catches(pid: Pid, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

fn a_restart_is_not_noticed(generation: Generation) {
    let mut host = Host::apart(generation);
    host.sleeper("stays");
    host.good(words(&host.run(
        &["-d"],
        "ends",
        &["/bin/sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done"],
    )));
    let listed = host.good(["tasks", "ls"]);
    let pid =
        listed.lines().find(|line| line.starts_with("ends")).unwrap().split_whitespace().nth(1).unwrap();
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    until("its trap", || catches(pid, Signal::TERM).then_some(()));
    host.daemon.kill();
    // While nobody is there.
    kill_process(pid, Signal::TERM).unwrap();
    until("end", || {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_err().then_some(())
    });
    host.daemon.start_again();
    host.becomes("ends", "STOPPED");
    assert_eq!(host.state("stays").as_deref(), Some("RUNNING"));
    assert_eq!(host.good(["tasks", "exec", "--exec-id", "e", "stays", "/bin/echo", "on"]), "on\n");
    let ended = host.ctr(["tasks", "rm", "ends"]);
    // The code is in what it says of it.
    assert!(ended.err.contains('9') || ended.code == Some(9), "{ended:?}");
    host.good(["containers", "rm", "ends"]);
    host.remove("stays");
    host.close();
}
