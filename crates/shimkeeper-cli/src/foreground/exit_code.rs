// SPDX-License-Identifier: Apache-2.0
//! The exit code of what ran a process in the foreground: the process's, or what kept it from starting.
//!
//! As docker has it: 126 when the command cannot be executed, 127 when it is not there, 125 for everything else.
//! Which it was is the library's to find out: runtimes say it only in prose.

use shimkeeper::{Diagnosis, Error};

use crate::failure::EXIT_FAILURE;

/// The command is there, but cannot be executed.
pub(crate) const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The command is not there.
pub(crate) const EXIT_NOT_FOUND: u8 = 127;

/// The exit code for the status of a process; shims have already made 128+N of signal N.
pub(crate) fn of_status(status: u32) -> u8 {
    u8::try_from(status).unwrap_or(u8::MAX)
}

/// The signal that an exit status tells of, if it does.
pub(crate) fn signal_of(status: u32) -> Option<u32> {
    status.checked_sub(128).filter(|signal| (1..=64).contains(signal))
}

/// The exit code when a container did not start: a command that is missing has codes of its own.
pub(crate) fn of_start_failure(error: &Error) -> u8 {
    match error.diagnosis() {
        Some(Diagnosis::CommandMissing) => EXIT_NOT_FOUND,
        Some(Diagnosis::CommandNotExecutable) => EXIT_NOT_EXECUTABLE,
        _ => EXIT_FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_handed_on() {
        assert_eq!([0, 7, 143, 255, 256, u32::MAX].map(of_status), [0, 7, 143, 255, 255, 255]);
        assert_eq!([0, 1, 128, 129, 143, 192, 193, 255].map(signal_of), {
            [None, None, None, Some(1), Some(15), Some(64), None, None]
        });
    }
}
