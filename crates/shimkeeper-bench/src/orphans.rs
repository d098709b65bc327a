// SPDX-License-Identifier: Apache-2.0
//! This process adopts what its children leave behind, and waits for it: a shim is nobody's child otherwise, and
//! the time it used would be counted nowhere.
//!
//! A shim that ended stays a zombie until it is waited for here, which is after the measured part of a lifecycle.
//! A zombie is an ended process to whoever asks the kernel through a pidfd.

use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::error::BenchError;

/// From here on orphaned descendants become children of this process.
pub(crate) fn adopt() -> Result<(), BenchError> {
    let me = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(me)).map_err(|e| BenchError::io("become a subreaper", e))
}

/// Waits for a shim, which has been seen to end. One that another process adopted is not waited for.
pub(crate) fn collect(shim: Option<u32>) {
    let pid = shim.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    }
}
