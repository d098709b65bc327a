// SPDX-License-Identifier: Apache-2.0
//! A disk that hangs, as far as one file goes: who opens or executes it stands still.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// A hold on a file that the next to open or execute it has to wait for, 45 seconds at most unless the machine is set up
/// otherwise (`/proc/sys/fs/lease-break-time`). Over when dropped.
#[derive(Debug)]
pub struct Lease(File);

impl Lease {
    /// Takes it.
    ///
    /// # Errors
    /// Those of `fcntl(2)`: somebody has the file open, or it is neither ours nor are we root.
    #[expect(unsafe_code, reason = "there is no safe wrapper for leases among the dependencies")]
    pub fn on(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: both calls take numbers and no memory. Nobody is to be sent the signal that somebody waits.
        let is_taken = unsafe {
            libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
                && libc::fcntl(file.as_raw_fd(), libc::F_SETOWN, 0) == 0
        };
        if is_taken { Ok(Self(file)) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Lease {
    /// Closing the file would not be enough: a child of ours that waits to execute it has it open, too.
    #[expect(unsafe_code, reason = "there is no safe wrapper for leases among the dependencies")]
    fn drop(&mut self) {
        // SAFETY: it takes numbers and no memory.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    }
}
