// SPDX-License-Identifier: Apache-2.0
//! Input, output and their ends.

use std::io::{BufRead, Read};

use crate::support::Run;

/// What `seq` writes.
fn numbers(last: u32) -> String {
    (1..=last).fold(String::new(), |text, number| text + &number.to_string() + "\n")
}

#[test]
fn the_end_of_input_reaches_the_container() {
    let outcome = Run::new().flag("-i").output_with_input(&["cat"], b"hi\n".to_vec());
    assert_eq!(outcome.success(), "hi\n");
    let outcome = Run::new().flag("-i").output_with_input(&["wc", "-c"], Vec::new());
    assert_eq!(outcome.success().trim(), "0", "an end without anything before it");
}

#[test]
fn input_is_only_forwarded_when_asked_for() {
    let outcome = Run::new().output_with_input(&["cat"], b"hi\n".to_vec());
    assert_eq!(outcome.success(), "");
}

#[test]
fn much_goes_through_both_ways_unchanged() {
    let input = numbers(200_000);
    let outcome = Run::new().flag("-i").output_with_input(&["cat"], input.clone().into_bytes());
    assert!(outcome.success() == input);
}

#[test]
fn a_container_may_leave_its_input_unread() {
    let outcome = Run::new().flag("-i").output_with_input(&["true"], vec![b'x'; 1 << 20]);
    assert_eq!(outcome.success(), "");
}

#[test]
fn the_last_words_are_not_lost() {
    assert!(Run::new().output(&["seq", "50000"]).success() == numbers(50_000));
}

#[test]
fn a_slow_reader_gets_everything() {
    let mut running = Run::new().spawn(&["seq", "100000"]);
    let mut stdout = running.stdout.take().unwrap();
    // More than all pipes on the way hold is left in the container until we read; it has not ended when we begin.
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!((first.as_str(), rest.lines().count()), ("1\n", 99_999));
}

#[test]
fn both_outputs_stay_apart() {
    let outcome = Run::new().output(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    let seen = (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str());
    assert_eq!(seen, (Some(3), "out\n", "err\n"));
}

#[test]
fn when_nobody_reads_any_more_the_container_ends() {
    let mut running = Run::new().spawn(&["yes"]);
    assert_eq!(running.line(), "y\n");
    drop(running.stdout.take());
    assert_eq!(running.wait().code(), Some(137), "killed: the first process of a container ignores SIGPIPE");
}

#[test]
fn a_closed_standard_error_keeps_nobody_from_ending_well() {
    let mut running = Run::new().flags(["--debug", "--trace-phases"]).spawn(&["echo", "done"]);
    drop(running.stderr.take());
    assert_eq!(running.line(), "done\n");
    assert_eq!(running.wait().code(), Some(0));
}
