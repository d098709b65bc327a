// SPDX-License-Identifier: Apache-2.0
//! `-t` on a pseudo-terminal, as a user's terminal emulator would have it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::{Run, readable};

/// The user's end, and the end that programs run on.
struct Terminal {
    user: File,
    program: OwnedFd,
    seen: String,
}

impl Terminal {
    fn new(rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let program = ioctl_tiocgptpeer(&user, flags).unwrap();
        let terminal = Self { user: user.into(), program, seen: String::new() };
        terminal.resize(rows, columns);
        terminal
    }

    fn resize(&self, ws_row: u16, ws_col: u16) {
        tcsetwinsize(&self.program, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    /// Reads until this text has been shown.
    fn expect(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(readable(&self.user), "{text:?} never came; what came was {:?}", self.seen);
            let count = self.user.read(&mut buffer).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    fn type_in(&mut self, text: &str) {
        self.user.write_all(text.as_bytes()).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.program).unwrap().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }
}

#[test]
fn the_process_has_a_terminal_when_asked_for() {
    let script = "test -t 0 && test -t 1 && test -t 2 && echo yes || echo no";
    assert_eq!(Run::new().flag("-t").output(&["sh", "-c", script]).success(), "yes\r\n");
    assert_eq!(Run::new().output(&["sh", "-c", script]).success(), "no\n");
}

#[test]
fn keys_and_sizes_go_through_and_the_terminal_is_given_back() {
    let mut terminal = Terminal::new(33, 99);
    assert!(!terminal.is_raw());
    let script =
        "stty size; read line; echo got $line; until stty size | grep 40; do sleep 0.05; done; exit 5";
    let running = Run::new().flag("-it").on_terminal(&terminal.program).spawn_as_it_is(&["sh", "-c", script]);
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
    let running = Run::new().flag("-it").on_terminal(&terminal.program).spawn_as_it_is(&["sh", "-c", script]);
    terminal.expect("ready");
    terminal.type_in("\x03");
    terminal.expect("trapped");
    assert_eq!(running.wait().code(), Some(9));
}

#[test]
fn the_terminal_is_given_back_when_we_are_told_to_end() {
    let mut terminal = Terminal::new(24, 80);
    let script = "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done";
    let running = Run::new().flag("-it").on_terminal(&terminal.program).spawn_as_it_is(&["sh", "-c", script]);
    terminal.expect("ready");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(143));
    assert!(!terminal.is_raw());
}

#[test]
fn the_terminal_is_given_back_when_the_command_is_not_there() {
    let terminal = Terminal::new(24, 80);
    let running = Run::new().flag("-it").on_terminal(&terminal.program).spawn_as_it_is(&["/nope"]);
    assert_eq!(running.wait().code(), Some(127));
    assert!(!terminal.is_raw());
}
