// SPDX-License-Identifier: Apache-2.0
//! A pseudo-terminal, as a user's terminal emulator would have it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The user's end, and the end that programs run on.
#[derive(Debug)]
pub struct Terminal {
    user: File,
    program: OwnedFd,
    seen: String,
}

impl Terminal {
    /// A new one of this size.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags).expect("a pseudo-terminal can be made");
        grantpt(&user).expect("it is ours");
        unlockpt(&user).expect("it is ours");
        let program = ioctl_tiocgptpeer(&user, flags).expect("it has another end");
        let terminal = Self { user: user.into(), program, seen: String::new() };
        terminal.resize(rows, columns);
        terminal
    }

    /// Gives it this size. Programs that run on it without it being theirs are not told.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn resize(&self, ws_row: u16, ws_col: u16) {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.program, size).expect("a terminal has a size");
    }

    /// The end for a program's stream.
    ///
    /// # Panics
    /// If there are no descriptors left.
    pub fn stream(&self) -> Stdio {
        Stdio::from(self.program.try_clone().expect("a descriptor can be copied"))
    }

    /// The end that programs run on.
    pub fn program(&self) -> &OwnedFd {
        &self.program
    }

    /// Reads until this text has been shown.
    ///
    /// # Panics
    /// If it does not come.
    pub fn expect(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let patience = Timespec::try_from(PATIENCE).expect("a minute is a time");
            let mut user = [PollFd::from_borrowed_fd(self.user.as_fd(), PollFlags::IN)];
            let readable = poll(&mut user, Some(&patience)).expect("a terminal can be waited for") > 0;
            assert!(readable, "{text:?} never came; what came was {:?}", self.seen);
            let count = self.user.read(&mut buffer).expect("a terminal can be read");
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Types this.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn type_in(&mut self, text: &str) {
        self.user.write_all(text.as_bytes()).expect("a terminal can be typed into");
    }

    /// Whether keys go through as they are.
    ///
    /// # Panics
    /// If that cannot be asked.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.program).expect("a terminal has modes").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }
}
