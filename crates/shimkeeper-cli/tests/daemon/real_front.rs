// SPDX-License-Identifier: Apache-2.0
//! Processes in the foreground that a daemon runs: `run`, `exec` and `attach`, with pipes and on terminals.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use shimkeeper_testkit::Terminal;

use crate::documented::is_documented;
use crate::place::Place;
use crate::real::outcome;
use crate::support::{PATIENCE, collect, ended_within, until};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for its end; its exit code.
fn code(mut child: Child) -> Option<i32> {
    let in_time = ended_within(&child, PATIENCE);
    if !in_time {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(in_time, "it did not end");
    status.code()
}

/// Nothing of ours is left where FIFOs are made.
fn no_fifos_of(place: &Place, id: &str) {
    assert_eq!(place.object(&["ps", "-a", "--filter", &format!("id={id}")])["containers"], json!([]));
}

#[test]
fn pipes_at_our_daemon() {
    pipes(Place::ours()).close();
}

#[test]
fn pipes_at_containerd() {
    pipes(Place::containerd()).close();
}

fn pipes(place: Place) -> Place {
    // Streams are kept apart, and the exit code is the process's.
    let script = "cat; echo to err >&2; exit 5";
    let args = place.run(&["--daemon", "--rm", "-i", "-o", "json"], "pipes-web", &["/bin/sh", "-c", script]);
    let mut running = place.command(&args).stdin(Stdio::piped()).spawn().unwrap();
    let input = "a line that is not long\n".repeat(10_000);
    let mut stdin = running.stdin.take().unwrap();
    let typed = input.clone();
    let typing = std::thread::spawn(move || stdin.write_all(typed.as_bytes()).unwrap());
    let (ended, out, err) = collect(running);
    typing.join().unwrap();
    assert_eq!((ended, out.len(), out == input), (Some(5), input.len(), true));
    let (err, report) = err.split_once('\n').unwrap();
    let report: Value = serde_json::from_str(report).unwrap();
    is_documented(&report);
    assert_eq!(
        (err, &report["schema"], &report["exit"]["status"]),
        ("to err", &json!("shimkeeper.run/1"), &json!(5))
    );
    no_fifos_of(&place, "pipes-web");

    // Without --rm it stays.
    let args = place.run(&["--daemon"], "pipes-stay", &["/bin/echo", "hello"]);
    assert_eq!(place.good(&args), "hello\n");
    assert_eq!(place.good(&["ps", "-q", "--filter", "status=stopped"]), "pipes-stay\n");
    assert_eq!(place.good(&["rm", "pipes-stay"]), "pipes-stay\n");

    // What cannot start leaves nothing; what takes too long is killed.
    place.bad(&place.run(&["--daemon"], "pipes-nope", &["nope"]), 127, "nope", "root file system");
    let late = place.run(&["--daemon", "--rm", "--timeout", "100ms"], "pipes-late", &["/bin/sleep", "3600"]);
    let late = place.ran(&late);
    assert!(late.code == Some(137) && late.err.contains("--timeout"), "{late:?}");

    // Further processes.
    place.detach(&["-e", "OF=container"], "pipes-exec", "exec sleep 3600");
    let exec = |args: &[&str]| place.ran(&[&["exec"], args].concat());
    let script = "echo $OF $MINE; pwd; id -u; echo err >&2; exit 3";
    let ran = exec(&["-e", "MINE=1", "-w", "/tmp", "-u", "7:8", "pipes-e", "/bin/sh", "-c", script]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(3), "container 1\n/tmp\n7\n", "err\n"));
    let ran = exec(&["-o", "json", "pipes-exec", "/bin/true"]);
    let report: Value = serde_json::from_str(&ran.err).unwrap();
    is_documented(&report);
    assert_eq!((&report["schema"], &report["exit"]["status"]), (&json!("shimkeeper.exec/1"), &json!(0)));
    place.bad(&["exec", "pipes-exec", "/nope"], 127, "/nope", "root file system");
    place.bad(&["exec", "pipes-exec", "/etc"], 126, "/etc", "execute permission");
    place.bad(&["exec", "-u", "nobody-there", "pipes-exec", "id"], 125, "nobody-there", "numbers");
    place.bad(&["exec", "none", "id"], 125, "no container", "ps -a");
    on_streams_that_will_not_do(&place, "pipes-exec");
    let mut catting =
        place.command(&["exec", "-i", "pipes-exec", "/bin/cat"]).stdin(Stdio::piped()).spawn().unwrap();
    catting.stdin.take().unwrap().write_all(b"through and back").unwrap();
    assert_eq!(outcome(catting).out, "through and back");
    let sleeping = place.good(&["exec", "-d", "pipes-exec", "/bin/sleep", "3599"]);
    assert!(sleeping.starts_with("exec-"), "{sleeping}");
    assert!(place.good(&["top", "pipes-exec"]).contains("/bin/sleep 3599"));

    // Signals go to the process.
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut trapping = place.command(&["exec", "pipes-exec", "/bin/sh", "-c", script]).spawn().unwrap();
    let mut told = BufReader::new(trapping.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    signal(&trapping, Signal::TERM);
    told.read_to_string(&mut line).unwrap();
    assert_eq!((line.as_str(), code(trapping)), ("ready\ncaught\n", Some(9)));
    assert_eq!(place.good(&["rm", "-f", "pipes-exec"]), "pipes-exec\n");
    place
}

/// Our own streams are none that the process can be on.
fn on_streams_that_will_not_do(place: &Place, id: &str) {
    place.bad(&["exec", "-i", "-t", id, "/bin/cat"], 125, "not a terminal", "leave out -t");
    for args in [&["exec", id, "/bin/echo", "lost"][..], &["ps"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let told = outcome(place.command(args).stdout(full).spawn().unwrap());
        assert!(told.code == Some(125) && told.err.contains("write the output"), "{told:?}");
    }
}

#[test]
fn terminals_at_our_daemon() {
    terminals(Place::ours()).close();
}

#[test]
fn terminals_at_containerd() {
    terminals(Place::containerd()).close();
}

fn terminals(place: Place) -> Place {
    let shell = "echo hello; while read line; do case $line in quit) exit 6;; *) echo got $line;; esac; done";
    place.detach(&["-i", "-t"], "term-web", shell);
    until("the output", || (place.good(&["logs", "term-web"]) == "hello\r\n").then_some(()));

    // An exec, with keys, sizes and its exit code.
    let mut terminal = Terminal::new(33, 99);
    let script =
        "stty size; read line; echo read $line; until stty size | grep 40; do sleep 0.05; done; exit 4";
    let running = place.on(&terminal, &["exec", "-i", "-t", "term-web", "/bin/sh", "-c", script]);
    terminal.expect("33 99");
    assert!(terminal.is_raw());
    terminal.resize(40, 120);
    signal(&running, Signal::WINCH);
    terminal.type_in("a key\r");
    terminal.expect("read a key");
    terminal.expect("40 120");
    assert_eq!(code(running), Some(4));
    assert!(!terminal.is_raw());

    // Two are attached to the container; one leaves, and nothing comes of it.
    let (mut first, mut second) = (Terminal::new(24, 80), Terminal::new(24, 80));
    let leaving = place.on(&first, &["attach", "term-web"]);
    let staying = place.on(&second, &["attach", "-o", "json", "term-web"]);
    for (terminal, child) in [(&first, &leaving), (&second, &staying)] {
        until("raw keys", || terminal.is_raw().then_some(()));
        assert!(child.id() > 0);
    }
    first.type_in("one\r");
    first.expect("got one");
    second.expect("got one");
    first.type_in("\x10\x11");
    first.expect("left term-web");
    assert_eq!(code(leaving), Some(0));
    assert!(!first.is_raw());
    second.type_in("two\r");
    second.expect("got two");
    second.type_in("quit\r");
    second.expect("\"schema\":\"shimkeeper.attach/1\"");
    second.expect("\"status\":6");
    assert_eq!(code(staying), Some(6));
    let logs = place.good(&["logs", "term-web"]);
    assert!(logs.contains("got one\r\n") && logs.contains("got two\r\n"), "{logs:?}");

    // In the foreground, on a terminal.
    let mut terminal = Terminal::new(24, 80);
    let args = place.run(&["--daemon", "--rm", "-i", "-t"], "term-run", &["/bin/sh", "-c", shell]);
    let running = place.on(&terminal, &args.iter().map(String::as_str).collect::<Vec<_>>());
    terminal.expect("hello");
    terminal.type_in("quit\r");
    assert_eq!(code(running), Some(6));
    assert_eq!(place.good(&["rm", "term-web"]), "term-web\n");
    place
}

#[test]
fn who_watches_does_not_notice_that_the_daemon_was_away() {
    let mut place = Place::ours();
    let script = "echo ready; read line; echo still $line; exit 8";
    let args = place.run(&["--daemon", "--rm", "-i"], "away-web", &["/bin/sh", "-c", script]);
    let mut running = place.command(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(running.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    place.host().daemon.kill();
    place.host().daemon.start_again();
    place.host().daemon.stop();
    place.host().daemon.start_again();
    let typed = running.stdin.take().unwrap().write_all(b"here\n");
    told.read_to_string(&mut line).unwrap();
    let ended = outcome(running);
    assert_eq!((line.as_str(), ended.code), ("ready\nstill here\n", Some(8)), "{typed:?} {}", ended.err);
    place.close();
}

#[test]
fn another_clients_container_is_attached_to_by_its_fifos() {
    let mut place = Place::ours();
    let namespace = place.namespace().to_owned();
    let host = place.host();
    let script = "while :; do echo tick; sleep 0.2; done";
    let args = host.run(&["-d"], "fifo-web", &["/bin/sh", "-c", script]);
    let args: Vec<&str> = ["-n", &namespace].into_iter().chain(args.iter().map(String::as_str)).collect();
    host.good(args);
    let mut attached = place.command(&["attach", "fifo-web"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(attached.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "tick\n");
    signal(&attached, Signal::KILL);
    attached.wait().unwrap();
    assert_eq!(place.good(&["rm", "-f", "fifo-web"]), "fifo-web\n");
    place.close();
}

/// Where this command has its FIFOs.
fn fifos_of(child: &Child) -> PathBuf {
    let open = || std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
    let links = || open().filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let is_one = |path: &PathBuf| path.file_name().is_some_and(|name| name == "stdout") && path.exists();
    until("FIFOs", || links().find(is_one)).parent().unwrap().to_owned()
}

#[test]
fn a_killed_command_is_taken_over_from() {
    let place = Place::ours();
    let script = "echo ready; while read line; do echo got $line; done";
    let args = place.run(&["--daemon", "-i"], "killed-web", &["/bin/sh", "-c", script]);
    let mut running = place.command(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let fifos = fifos_of(&running);
    // Ours is kept open, or the container's input would be at its end.
    signal(&running, Signal::KILL);
    running.wait().unwrap();

    // The container goes on, so its FIFOs are not cleared away, and who attaches has them.
    outcome(place.command(&["cleanup"]).spawn().unwrap());
    assert!(fifos.join("stdout").exists());
    let mut attached = place.command(&["attach", "killed-web"]).stdin(Stdio::piped()).spawn().unwrap();
    attached.stdin.as_mut().unwrap().write_all(b"through\n").unwrap();
    let mut line = String::new();
    BufReader::new(attached.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "got through\n");
    signal(&attached, Signal::KILL);
    attached.wait().unwrap();
    assert_eq!(place.good(&["rm", "-f", "killed-web"]), "killed-web\n");
    assert!(!fifos.exists(), "they go with the container");

    // Those of an exec that nobody removes go with the next cleanup.
    place.detach(&["--log-driver", "none"], "killed-exec", "exec sleep 3600");
    let exec = ["exec", "-i", "killed-exec", "/bin/sh", "-c", "echo ready; exec cat"];
    let mut running = place.command(&exec).stdin(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let fifos = fifos_of(&running);
    signal(&running, Signal::KILL);
    running.wait().unwrap();
    assert_eq!(place.good(&["rm", "-f", "killed-exec"]), "killed-exec\n");
    outcome(place.command(&["cleanup"]).spawn().unwrap());
    assert!(!fifos.exists(), "{}", fifos.display());
    place.close();
}
