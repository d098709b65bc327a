// SPDX-License-Identifier: Apache-2.0
//! How the allocator is told to behave in a process that is small for most of its life, and large for a moment.
//!
//! By itself glibc keeps a heap for each thread that ever allocated at the same time as another one, and gives back
//! nothing that something still in use lies above. Here one heap serves all threads (what they free, each keeps at hand
//! in a cache of its own), and after a burst of calls, once nobody wants anything, everything free goes back.

use std::time::Duration;

use crate::calls::Calls;

/// How long nothing may have been called for a burst to be over.
const QUIET: Duration = Duration::from_secs(3);

/// Has all threads share a heap. For before there are any.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator's settings are C's alone")]
pub(crate) fn share_one_heap() {
    // SAFETY: it changes a number of the allocator's, under the allocator's own lock. Without it there are more heaps.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives back to the system what is free.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator's settings are C's alone")]
pub(crate) fn give_back() {
    // SAFETY: it touches only what nobody has, under the allocator's own lock. Whether there was anything is no matter.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Other allocators are left to their own ways.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share_one_heap() {}

/// Other allocators are left to their own ways.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}

/// Gives back after every burst of calls. Never returns, and waits for nothing while nothing is called.
///
/// # Cancel safety
/// Yes.
pub(crate) async fn give_back_when_quiet(calls: &Calls) {
    loop {
        calls.quiet_again(QUIET).await;
        give_back();
    }
}
