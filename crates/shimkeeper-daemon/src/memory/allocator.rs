// SPDX-License-Identifier: Apache-2.0
//! The system's allocator, but for pieces that are aligned to two cache lines, as the async runtime has its tasks and
//! what it knows of descriptors. Those are kept for the next of their size, until memory is given back.
//!
//! By itself glibc cuts such a piece out of one that is half as large again, and cannot use it again for another of its
//! kind when it is free: a heap with many that come and go is full of holes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What they are aligned to, and their sizes are multiples of.
const LINES: usize = 128;

/// How many sizes are kept. What is larger than all of them is rare, and large enough to be a hole that others fit in.
const SIZES: usize = 24;

/// For the one static of the program that says how it allocates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

/// What is kept, of each size a chain; the smallest are first.
static KEPT: Mutex<Kept> = Mutex::new(Kept { chains: [null_mut(); SIZES] });

struct Kept {
    chains: [*mut Link; SIZES],
}

/// The beginning of a piece that is kept.
struct Link {
    next: *mut Self,
}

// SAFETY: nobody but the chain has a pointer to what is kept, whichever thread that was of.
#[expect(unsafe_code, reason = "pointers are sent to nobody by themselves")]
unsafe impl Send for Kept {}

impl Kept {
    fn all() -> MutexGuard<'static, Self> {
        // A panic cannot leave it half-changed: nothing in between can.
        KEPT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which chain has pieces of this kind, if any has.
    fn chain_of(layout: Layout) -> Option<usize> {
        let is_whole = layout.align() == LINES && layout.size().is_multiple_of(LINES);
        is_whole.then(|| (layout.size() / LINES).checked_sub(1)).flatten().filter(|chain| *chain < SIZES)
    }

    /// What pieces of a chain are.
    fn layout_of(chain: usize) -> Option<Layout> {
        Layout::from_size_align((chain + 1) * LINES, LINES).ok()
    }

    /// A piece of a chain, if there is one.
    #[expect(unsafe_code, reason = "pieces are linked by what is in them")]
    fn take(&mut self, chain: usize) -> Option<*mut u8> {
        let first = self.chains[chain];
        if first.is_null() {
            return None;
        }
        // SAFETY: what is in a chain begins with a link that `put` has written, and is nobody's.
        self.chains[chain] = unsafe { (*first).next };
        Some(first.cast())
    }

    /// # Safety
    /// The piece is as large and as aligned as those of this chain, and from now on nobody's.
    #[expect(unsafe_code, reason = "pieces are linked by what is in them")]
    unsafe fn put(&mut self, chain: usize, piece: *mut u8) {
        #[expect(clippy::cast_ptr_alignment, reason = "it is aligned to much more")]
        let link = piece.cast::<Link>();
        // SAFETY: it is large and aligned enough for a link, and there is nothing in it.
        unsafe { link.write(Link { next: self.chains[chain] }) };
        self.chains[chain] = link;
    }
}

// SAFETY: a piece is the system's, of the layout that is asked for, and handed out once until it is given back: what is
// in a chain is taken out of it under the lock. Nothing here unwinds, or allocates by itself.
#[expect(unsafe_code, reason = "it is how an allocator is one")]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(chain) = Kept::chain_of(layout)
            && let Some(piece) = Kept::all().take(chain)
        {
            return piece;
        }
        // SAFETY: the caller promises what the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above. What is kept stays so: it is not known to be zero.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match Kept::chain_of(layout) {
            // SAFETY: the chain is that of the layout, and the caller has no use for it any more.
            Some(chain) => unsafe { Kept::all().put(chain, piece) },
            // SAFETY: all pieces are the system's.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: all pieces are the system's, and it may have them back whatever they are.
        unsafe { System.realloc(piece, layout, new_size) }
    }
}

/// Gives to the system's allocator what is kept.
#[expect(unsafe_code, reason = "it is how an allocator is one")]
pub(super) fn give_back() {
    for chain in 0..SIZES {
        let Some(layout) = Kept::layout_of(chain) else { continue };
        // Not held while the system works.
        while let Some(piece) = { Kept::all().take(chain) } {
            // SAFETY: it came from there, of this layout, and is nobody's.
            unsafe { System.dealloc(piece, layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Layout {
        Layout::from_size_align(count * LINES, LINES).unwrap()
    }

    fn kept(count: usize) -> bool {
        !Kept::all().chains[count - 1].is_null()
    }

    // One test, because what is kept is the program's.
    #[test]
    #[expect(unsafe_code, reason = "it is how an allocator is used")]
    fn a_piece_is_kept_for_the_next_of_its_size_until_all_are_given_back() {
        // SAFETY: every piece is given back once, with the layout that it has by then, and written to within that.
        unsafe {
            let (first, second) = (Allocator.alloc(lines(2)), Allocator.alloc(lines(2)));
            assert!(
                first != second && first.addr().is_multiple_of(LINES) && second.addr().is_multiple_of(LINES)
            );
            Allocator.dealloc(first, lines(2));
            Allocator.dealloc(second, lines(2));
            let larger = Allocator.alloc(lines(3));
            assert!(larger != first && larger != second, "of another size");
            assert_eq!([Allocator.alloc(lines(2)), Allocator.alloc(lines(2))], [second, first]);
            assert!(!kept(2));

            second.write(7);
            let grown = Allocator.realloc(second, lines(2), 3 * LINES);
            assert_eq!((grown.read(), grown.addr() % LINES), (7, 0));
            let zeroed = Allocator.alloc_zeroed(lines(2));
            assert!((0..2 * LINES).all(|at| zeroed.add(at).read() == 0));
            for (piece, count) in [(first, 2), (zeroed, 2), (grown, 3), (larger, 3)] {
                Allocator.dealloc(piece, lines(count));
            }
            assert!(kept(2) && kept(3));

            // Not of our kind: too large, and aligned to less.
            let large = Allocator.alloc(lines(SIZES + 1));
            Allocator.dealloc(large, lines(SIZES + 1));
            let plain = Layout::new::<[u64; 32]>();
            Allocator.dealloc(Allocator.alloc(plain), plain);
        }
        give_back();
        assert!((1..=SIZES).all(|count| !kept(count)));
    }
}
