// SPDX-License-Identifier: Apache-2.0
//! The user's terminal: its size, and raw mode that is always given back.
//!
//! [`RawMode`] restores what it found when it is dropped, so a return, an error and a panic all end in a usable
//! terminal. The signals that would end the process without dropping anything are all caught in `signals.rs`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use shimkeeper_core::Kind;

use crate::failure::Failure;

/// Rows and columns, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// A terminal whose keys go through unchanged, until this is dropped.
#[derive(Debug)]
pub(crate) struct RawMode {
    terminal: OwnedFd,
    found: Termios,
}

impl RawMode {
    /// Makes `terminal` raw; `None` when it is no terminal.
    pub(crate) fn enter(terminal: impl AsFd) -> io::Result<Option<Self>> {
        if !isatty(&terminal) {
            return Ok(None);
        }
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let found = tcgetattr(&terminal)?;
        let raw_mode = Self { terminal, found };
        raw_mode.again()?;
        Ok(Some(raw_mode))
    }

    /// Of our own input, if the process is typed into on a terminal.
    pub(crate) fn of_input(typed_into: bool) -> Result<Option<Self>, Failure> {
        if !typed_into {
            return Ok(None);
        }
        Self::enter(io::stdin())
            .map_err(|error| Failure::io("make the terminal raw", &error, "run without --tty"))
    }

    /// Makes it raw once more: a shell resets the terminal while we are stopped.
    pub(crate) fn again(&self) -> io::Result<()> {
        let mut raw = self.found.clone();
        raw.make_raw();
        Ok(tcsetattr(&self.terminal, OptionalActions::Now, &raw)?)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.found);
    }
}

/// Refuses to let a terminal be typed into from what is none: its end comes by itself, and with the end of its input
/// shims hang a terminal up, under who runs on it or is about to.
pub(crate) fn may_type(typed_into: bool) -> Result<(), Failure> {
    if !typed_into || isatty(io::stdin()) {
        return Ok(());
    }
    let what = "standard input is not a terminal, which -i with -t needs";
    Err(Failure::new(Kind::InvalidArgument, what, "leave out -t to pass on what comes, or -i for no input"))
}

/// The size of the first of our standard streams that is a terminal with a size.
pub(crate) fn size() -> Option<Size> {
    size_of(io::stdout()).or_else(|| size_of(io::stdin())).or_else(|| size_of(io::stderr()))
}

fn size_of(stream: impl AsFd) -> Option<Size> {
    let size = tcgetwinsize(stream).ok()?;
    // Zero is what a terminal without a known size says, such as a serial line.
    (size.ws_row > 0 && size.ws_col > 0).then_some(Size { rows: size.ws_row, columns: size.ws_col })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{LocalModes, OutputModes, Winsize, tcsetwinsize};

    /// Both ends of a new terminal: the user's and the programs'.
    fn pair() -> (OwnedFd, OwnedFd) {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let program = ioctl_tiocgptpeer(&user, flags).unwrap();
        (user, program)
    }

    fn modes(terminal: &OwnedFd) -> (LocalModes, OutputModes) {
        let found = tcgetattr(terminal).unwrap();
        (found.local_modes, found.output_modes)
    }

    #[test]
    fn raw_mode_is_given_back() {
        let (_user, terminal) = pair();
        let before = modes(&terminal);
        assert!(before.0.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        let raw_mode = RawMode::enter(&terminal).unwrap().unwrap();
        assert!(!modes(&terminal).0.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        drop(raw_mode);
        assert_eq!(modes(&terminal), before);
    }

    #[test]
    fn a_panic_gives_it_back_too() {
        let (_user, terminal) = pair();
        let before = modes(&terminal);
        let panicked = std::panic::catch_unwind(|| {
            let _raw_mode = RawMode::enter(&terminal).unwrap().unwrap();
            assert_ne!(modes(&terminal), before);
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicked.is_err());
        assert_eq!(modes(&terminal), before);
    }

    #[test]
    fn it_can_be_made_raw_again() {
        let (_user, terminal) = pair();
        let raw_mode = RawMode::enter(&terminal).unwrap().unwrap();
        let raw = modes(&terminal);
        tcsetattr(&terminal, OptionalActions::Now, &raw_mode.found).unwrap();
        assert_ne!(modes(&terminal), raw);
        raw_mode.again().unwrap();
        assert_eq!(modes(&terminal), raw);
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let null = File::open("/dev/null").unwrap();
        assert!(RawMode::enter(&null).unwrap().is_none());
        assert_eq!(size_of(&null), None);
    }

    #[test]
    fn a_size_of_zero_is_none() {
        let (_user, terminal) = pair();
        assert_eq!(size_of(&terminal), None);
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        assert_eq!(size_of(&terminal), Some(Size { rows: 24, columns: 80 }));
    }
}
