// SPDX-License-Identifier: Apache-2.0
//! What is told on standard output: a reader who has gone wanted no more, and a disk that is full is a failure.

use std::io::{self, ErrorKind, Write as _};

use crate::failure::Failure;

/// Writes it; whether somebody is left to read more.
pub(crate) fn write(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(unwritten(&error)),
    }
}

/// It cannot be written, although somebody may want it.
pub(crate) fn unwritten(error: &io::Error) -> Failure {
    Failure::io("write the output", error, "what is there is not all of it: make room, or write elsewhere")
}
