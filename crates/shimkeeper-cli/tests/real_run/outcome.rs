// SPDX-License-Identifier: Apache-2.0
//! The exit code, and the words when something goes wrong.

use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use shimkeeper_testkit::TestDirs;

use crate::support::Run;

#[test]
fn hello_world() {
    assert_eq!(Run::new().output(&["echo", "hello", "world"]).success(), "hello world\n");
}

#[test]
fn the_exit_code_is_the_containers() {
    for code in [0, 1, 7, 255] {
        let outcome = Run::new().output(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(code), ""));
    }
}

#[test]
fn a_signal_is_forwarded() {
    for (signal, name, number) in
        [(Signal::TERM, "TERM", 15), (Signal::USR1, "USR1", 10), (Signal::HUP, "HUP", 1)]
    {
        let script = format!("trap 'exit {}' {name}; echo ready; while :; do sleep 0.05; done", 128 + number);
        let mut running = Run::new().spawn(&["sh", "-c", &script]);
        assert_eq!(running.line(), "ready\n");
        running.signal(signal);
        assert_eq!(running.wait().code(), Some(128 + number), "{name}");
    }
}

#[test]
fn three_interrupts_warn_and_the_fourth_kills() {
    let script = "trap 'echo interrupted' INT; echo ready; while :; do sleep 0.05; done";
    let mut running = Run::new().spawn(&["sh", "-c", script]);
    assert_eq!(running.line(), "ready\n");
    for _ in 0..3 {
        running.signal(Signal::INT);
        assert_eq!(running.line(), "interrupted\n");
    }
    running.signal(Signal::INT);
    let mut stderr = running.stderr.take().unwrap();
    assert_eq!(running.wait().code(), Some(137));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert!(said.contains("hint: interrupt once more to kill it"), "{said}");
}

#[test]
fn a_creation_that_hangs_can_be_abandoned() {
    let dirs = TestDirs::new();
    // A runtime that never comes back from creating a container, and says on our FIFO that it got there.
    let (runtime, fifo) = (dirs.path().join("stuck"), dirs.path().join("fifo"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *' create '*) echo > {}; exec sleep 600;; esac\nexec runc \"$@\"\n",
        fifo.display()
    );
    std::fs::write(&runtime, script).unwrap();
    std::fs::set_permissions(&runtime, PermissionsExt::from_mode(0o755)).unwrap();
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    let run = Run::new().flag("--state").flag(dirs.state()).flag("--root").flag(dirs.root());
    let running = run.flag("--runtime-binary").flag(&runtime).spawn(&["true"]);
    assert_eq!(std::fs::read(&fifo).unwrap(), b"\n");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(143));
    let left = dirs.leftovers();
    assert!(left.bundles.is_empty() && left.hidden.is_empty() && left.processes.is_empty(), "{left}");
}

#[test]
fn a_command_that_is_not_there_is_127() {
    for command in ["nope", "/nope", "./nope"] {
        let outcome = Run::new().output(&[command]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(127), ""), "{}", outcome.stderr);
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].starts_with("shimkeeper: ") && lines[1].starts_with("  hint: check the command's name")
        );
    }
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    for command in ["/etc/passwd", "/etc"] {
        let outcome = Run::new().output(&[command]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(126), ""), "{}", outcome.stderr);
    }
}

#[test]
fn everything_else_is_125() {
    let outcome = Run::new().flags(["--runtime", "/nonexistent/shim"]).output(&["true"]);
    assert_eq!(outcome.code, Some(125), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("  hint: "), "{}", outcome.stderr);
    let outcome = Run::new().flags(["--runtime-binary", "no-such-runc"]).output(&["true"]);
    assert_eq!(outcome.code, Some(125), "{}", outcome.stderr);
    assert_eq!(Run::bare().output(&["true"]).code, Some(125), "a wrong command line");
}

#[test]
fn a_timeout_kills() {
    let outcome = Run::new().flags(["--timeout", "500ms"]).output(&["sleep", "600"]);
    assert_eq!(outcome.code, Some(137));
    assert_eq!(outcome.stderr, "shimkeeper: the container was killed after 500ms (--timeout)\n");
    Run::new().flags(["--timeout", "1h"]).output(&["true"]).success();
}
