// SPDX-License-Identifier: Apache-2.0
//! `-t` on a pseudo-terminal, as a user's terminal emulator would have it.

use rustix::process::Signal;
use shimkeeper_testkit::Terminal;

use crate::support::Run;

#[test]
fn the_process_has_a_terminal_when_asked_for() {
    let script = "test -t 0 && test -t 1 && test -t 2 && echo yes || echo no";
    assert_eq!(Run::new().flag("-t").output(&["sh", "-c", script]).success(), "yes\r\n");
    assert_eq!(Run::new().output(&["sh", "-c", script]).success(), "no\n");
}

#[test]
fn only_a_terminal_types_into_one() {
    let outcome = Run::new().flag("-it").output_with_input(&["cat"], b"typed\n".to_vec());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(125), ""));
    assert!(outcome.stderr.contains("not a terminal"), "{}", outcome.stderr);
}

#[test]
fn keys_and_sizes_go_through_and_the_terminal_is_given_back() {
    let mut terminal = Terminal::new(33, 99);
    assert!(!terminal.is_raw());
    let script =
        "stty size; read line; echo got $line; until stty size | grep 40; do sleep 0.05; done; exit 5";
    let running =
        Run::new().flag("-it").on_terminal(terminal.program()).spawn_as_it_is(&["sh", "-c", script]);
    terminal.expect("33 99");
    assert!(terminal.is_raw());
    terminal.resize(40, 120);
    running.signal(Signal::WINCH);
    terminal.type_in("a key\r");
    terminal.expect("got a key");
    terminal.expect("40 120");
    assert_eq!(running.wait().code(), Some(5));
    assert!(!terminal.is_raw());
}

#[test]
fn ctrl_c_is_a_key_of_the_container() {
    let mut terminal = Terminal::new(24, 80);
    let script = "trap 'echo trapped; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let running =
        Run::new().flag("-it").on_terminal(terminal.program()).spawn_as_it_is(&["sh", "-c", script]);
    terminal.expect("ready");
    terminal.type_in("\x03");
    terminal.expect("trapped");
    assert_eq!(running.wait().code(), Some(9));
}

#[test]
fn the_terminal_is_given_back_when_we_are_told_to_end() {
    let mut terminal = Terminal::new(24, 80);
    let script = "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done";
    let running =
        Run::new().flag("-it").on_terminal(terminal.program()).spawn_as_it_is(&["sh", "-c", script]);
    terminal.expect("ready");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(143));
    assert!(!terminal.is_raw());
}

#[test]
fn the_terminal_is_given_back_when_the_command_is_not_there() {
    let terminal = Terminal::new(24, 80);
    let running = Run::new().flag("-it").on_terminal(terminal.program()).spawn_as_it_is(&["/nope"]);
    assert_eq!(running.wait().code(), Some(127));
    assert!(!terminal.is_raw());
}
