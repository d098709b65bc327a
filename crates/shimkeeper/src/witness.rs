// SPDX-License-Identifier: Apache-2.0
//! The end of a process whose shim cannot tell of it, learned from the kernel through the descriptor that is held: while
//! the shim is stuck, while it cannot be reached, and while what a dead one left cannot be cleared up.
//!
//! As long as the shim can be asked, nothing here waits for anything but that to change. What is learned is recorded and
//! announced by whoever waits.

use std::time::SystemTime;

use shimkeeper_core::{Exit, ProcessKey, Provenance};

use crate::reap;
use crate::shim::Shim;

/// Waits for the end of the process, as far as the kernel and not the shim tells of it.
///
/// # Cancel safety
/// Yes.
pub(crate) async fn exit_of(shim: &Shim, process: &ProcessKey) -> Exit {
    loop {
        shim.until_mute(true).await;
        // In a box of its own, because each process of each task has this future, and few come to this.
        if let Some(exit) = Box::pin(while_mute(shim, process)).await {
            return exit;
        }
    }
}

/// `None` once the shim can be asked again.
async fn while_mute(shim: &Shim, process: &ProcessKey) -> Option<Exit> {
    let status = async {
        let held = shim.held(process)?;
        held.exited().await.ok()?;
        let status = reap::status_from_kernel(&held)?;
        let pid = held.identity().pid;
        Some(Exit { pid, status, at: SystemTime::now(), provenance: Provenance::Recovered })
    };
    tokio::select! {
        biased;
        Some(exit) = status => return Some(exit),
        () = shim.until_mute(false) => {}
    }
    None
}
