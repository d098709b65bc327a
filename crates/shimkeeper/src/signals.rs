// SPDX-License-Identifier: Apache-2.0
//! Signal numbers as callers send them.

use crate::error::Refused;

/// SIGKILL.
pub(crate) const KILL: u32 = 9;

/// Largest signal number of Linux.
const LAST: u32 = 64;

/// Admits a signal number; 0 asks whether the process is there.
pub(crate) fn admit(number: u32) -> Result<u32, Refused> {
    if number <= LAST { Ok(number) } else { Err(Refused::NoSuchSignal { number }) }
}
