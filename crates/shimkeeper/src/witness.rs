// SPDX-License-Identifier: Apache-2.0
//! The end of a process whose shim cannot tell of it, learned from the kernel through the descriptor that is held: while
//! the shim is stuck, while it cannot be reached, and while what a dead one left cannot be cleared up.
//!
//! As long as the shim can be asked, nobody waits here. What is learned is recorded and announced by whoever waits.

use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::{Exit, ProcessKey, Provenance};
use shimkeeper_shim::{Pidfd, ProcessExit};

use crate::shim::Shim;

/// Waits for the end of the process, as the kernel tells of it; for ever, if it does not.
///
/// # Cancel safety
/// Yes.
pub(crate) async fn exit_of(shim: Arc<Shim>, process: ProcessKey) -> Exit {
    let exit = async {
        let held = shim.held(&process)?;
        held.exited().await.ok()?;
        let status = status_from_kernel(&held)?;
        let pid = held.identity().pid;
        Some(Exit { pid, status, at: SystemTime::now(), provenance: Provenance::Recovered })
    };
    match exit.await {
        Some(exit) => exit,
        None => pending().await,
    }
}

/// The wait status the kernel keeps for whoever holds a pidfd, as shims spell it.
pub(crate) fn status_from_kernel(pidfd: &Pidfd) -> Option<u32> {
    pidfd.exit_status().ok().flatten().map(ProcessExit::status)
}
