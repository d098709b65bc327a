// SPDX-License-Identifier: Apache-2.0
//! How the allocator is told to behave in a process that is small for most of its life, and large for a moment.
//!
//! By itself glibc keeps a heap for each thread that ever allocated at the same time as another one, and gives back
//! nothing that something still in use lies above. Here one heap serves all threads (what they free, each keeps at hand
//! in a cache of its own), and after a burst of calls, once nobody wants anything, everything free goes back: first what
//! this thread keeps at hand, some hundred pieces each of which would hold a page of its own. So do pages of the program
//! itself.

mod allocator;
mod mapped;

use std::iter::repeat_n;
use std::time::Duration;

use shimkeeper_store::Store;
use tokio::time::sleep;

use crate::calls::Calls;

pub use allocator::Allocator;

/// How long nothing may have been called for a burst to be over.
const QUIET: Duration = Duration::from_secs(3);

/// How many sizes of pieces glibc keeps at hand, from 24 bytes in steps of 16, and how many of each.
#[cfg(target_env = "gnu")]
const SIZES: usize = 64;
#[cfg(target_env = "gnu")]
const AT_HAND: usize = 7;

/// Has all threads share a heap. For before there are any.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator's settings are C's alone")]
pub(crate) fn share_one_heap() {
    // SAFETY: it changes a number of the allocator's, under the allocator's own lock. Without it there are more heaps.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives back to the system what is free.
pub(crate) fn give_back() {
    allocator::give_back();
    trim();
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator's settings are C's alone")]
fn trim() {
    empty_cache();
    // SAFETY: it touches only what nobody has, under the allocator's own lock. Whether there was anything is no matter.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Empties what the allocator keeps at hand for this thread, of which there is no other way: another thread frees it, and
/// a thread that ends leaves nothing at hand.
#[cfg(target_env = "gnu")]
fn empty_cache() {
    let pieces: Vec<_> =
        (0..SIZES).flat_map(|size| repeat_n(24 + 16 * size, AT_HAND)).map(Vec::<u8>::with_capacity).collect();
    // Without a thread to be had they go back to where they were.
    if let Ok(thread) = std::thread::Builder::new().name("tidying".into()).spawn(move || drop(pieces)) {
        // It has nothing to fail of.
        let _ = thread.join();
    }
}

/// Other allocators are left to their own ways.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share_one_heap() {}

/// Other allocators are left to their own ways.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// Gives back a while after the start, and after every burst of calls: what the store has kept for the next one first, and
/// last what of the program is in its file as well, because all the rest needs some of that. Never returns, and waits for
/// nothing while nothing is called.
///
/// # Cancel safety
/// Yes.
pub(crate) async fn give_back_when_quiet(calls: &Calls, store: &Store) {
    // Not as soon as the start is over: those who waited for it need much of the program.
    sleep(QUIET).await;
    loop {
        store.give_back().await;
        give_back();
        mapped::let_go();
        calls.quiet_again(QUIET).await;
    }
}
