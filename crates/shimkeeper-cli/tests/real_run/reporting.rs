// SPDX-License-Identifier: Apache-2.0
//! What is told about a run, and that nothing of it is left.

use std::path::Path;

use serde_json::Value;
use shimkeeper_testkit::{Leftovers, TestDirs};

use crate::support::Run;

fn report(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

#[test]
fn json_is_the_last_line_of_standard_error() {
    let outcome = Run::new().flags(["-o", "json"]).output(&["sh", "-c", "echo noise >&2; exit 3"]);
    assert_eq!(outcome.stderr.lines().count(), 2);
    let report = report(&outcome.stderr);
    assert_eq!(report["schema"], "shimkeeper.run/1");
    assert_eq!((&report["exit"]["status"], &report["exit"]["provenance"]), (&3.into(), &"observed".into()));
    assert!(report["pid"].as_u64().unwrap() > 0 && report["error"].is_null());
    assert!(report["shim"]["path"].as_str().unwrap().ends_with("containerd-shim-runc-v2"));

    let private = Path::new("/run/shimkeeper").join(report["id"].as_str().unwrap());
    assert!(!private.exists(), "{} is left", private.display());
}

#[test]
fn what_is_not_written_is_a_failure_however_it_ended() {
    let running = Run::new().flags(["-o", "json"]).onto_full_disk().spawn_as_it_is(&["echo", "lost"]);
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(125), "{}", outcome.stderr);
    let report = report(&outcome.stderr);
    assert_eq!((&report["exit_code"], &report["exit"]["status"]), (&125.into(), &0.into()));
    assert_eq!(report["error"]["kind"], "resource exhausted");
}

#[test]
fn a_failure_is_told_in_json_alone() {
    let outcome = Run::new().flags(["-o", "json"]).output(&["nope"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(127), 1), "{}", outcome.stderr);
    let report = report(&outcome.stderr);
    assert_eq!((&report["exit_code"], &report["exit"]), (&127.into(), &Value::Null));
    assert!(report["error"]["hint"].as_str().unwrap().contains("command"));
    let private = Path::new("/run/shimkeeper").join(report["id"].as_str().unwrap());
    assert!(!private.exists(), "{} is left", private.display());
}

#[test]
fn a_file_leaves_standard_error_to_the_container() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("result.json");
    let outcome = Run::new().flag("--output-file").flag(&file).output(&["sh", "-c", "echo noise >&2"]);
    assert_eq!(outcome.stderr, "noise\n");
    assert_eq!(report(&std::fs::read_to_string(file).unwrap())["exit"]["status"], 0);
}

#[test]
fn phases_are_traced_in_their_order() {
    let outcome = Run::new().flag("--trace-phases").output(&["true"]);
    let names: Vec<_> = outcome.stderr.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["bundle", "turn", "launch", "dial", "create", "start", "run", "delete", "total"]);
}

#[test]
fn given_directories_are_used_and_left_empty() {
    let dirs = TestDirs::new();
    let run = || Run::new().flag("--state").flag(dirs.state()).flag("--root").flag(dirs.root());
    assert_eq!(run().output(&["echo", "one"]).success(), "one\n");
    assert_eq!(run().flags(["--name", "same"]).output(&["echo", "two"]).success(), "two\n");
    assert_eq!(run().flags(["--name", "same"]).output(&["false"]).code, Some(1));
    // The manager's own sockets stay where they are for the next one.
    let left = Leftovers { sockets: Vec::new(), ..dirs.leftovers() };
    assert!(left.is_empty(), "{left}");
}
