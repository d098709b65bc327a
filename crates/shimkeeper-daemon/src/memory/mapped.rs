// SPDX-License-Identifier: Apache-2.0
//! Lets go of the pages of the program and of its libraries that are as they are in their files. Most were needed at the
//! start, or by the last burst of calls, and by nothing that waits.
//!
//! They stay where they came from, in the page cache, for as long as the system has room. What is touched next is mapped
//! again, with its neighbours. What a debugger has written into our code goes with them.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libc::{PF_W, PT_DYNAMIC, PT_LOAD, dl_phdr_info, size_t};
use rustix::param::page_size;

/// Entries of an object's dynamic section: a tag and what it says.
type Entry = [usize; 2];

/// The tags that say that code was relocated, the second of them with this bit.
const DT_TEXTREL: usize = 22;
const DT_FLAGS: usize = 30;
const DF_TEXTREL: usize = 4;

/// Where a segment of an object is.
#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    at: usize,
    len: usize,
}

/// Lets go of all that is mapped of them and was never written.
#[expect(unsafe_code, reason = "C's loader alone knows where they are")]
pub(super) fn let_go() {
    // SAFETY: the function is of the kind that is asked for, does not unwind, and has no use for the pointer.
    let _ = unsafe { libc::dl_iterate_phdr(Some(let_go_of), null_mut()) };
}

/// # Safety
/// The object is loaded, and stays so meanwhile: for as long as this runs the loader has its lock.
#[expect(unsafe_code, reason = "the loader calls it with its own tables")]
unsafe extern "C" fn let_go_of(object: *mut dl_phdr_info, _size: size_t, _data: *mut c_void) -> c_int {
    // SAFETY: the headers of what is loaded are in memory, as many as it says; where it says none, there is no pointer.
    let headers = unsafe {
        match (*object).dlpi_phdr {
            none if none.is_null() => &[],
            first => std::slice::from_raw_parts(first, usize::from((*object).dlpi_phnum)),
        }
    };
    // SAFETY: as above.
    let base = unsafe { (*object).dlpi_addr };
    let segment = |kind: u32, flags: u32, at, len| {
        let (at, len) = (usize::try_from(at).ok()?, usize::try_from(len).ok()?);
        Some(Segment { kind, flags, at, len })
    };
    let segments = headers.iter().filter_map(|header| {
        segment(header.p_type, header.p_flags, base.wrapping_add(header.p_vaddr), header.p_filesz)
    });
    // SAFETY: these are the segments of a loaded object.
    if !segments.clone().any(|segment| unsafe { is_of_relocated_code(segment) }) {
        for segment in segments.filter(|segment| segment.kind == PT_LOAD && segment.flags & PF_W == 0) {
            // SAFETY: the loader wrote nothing into it: it is not writable, and code was not relocated.
            unsafe { unmap(segment) };
        }
    }
    0
}

/// Whether this says that there are changes where nothing is writable. Linkers refuse to make such objects.
///
/// # Safety
/// The segment is one of a loaded object.
#[expect(unsafe_code, reason = "the loader's table is C's")]
unsafe fn is_of_relocated_code(segment: Segment) -> bool {
    if segment.kind != PT_DYNAMIC {
        return false;
    }
    // SAFETY: the loader itself reads this table at this place, and it is aligned for it.
    let entries = unsafe {
        let first = std::ptr::with_exposed_provenance::<Entry>(segment.at);
        std::slice::from_raw_parts(first, segment.len / size_of::<Entry>())
    };
    entries.iter().any(|[tag, value]| *tag == DT_TEXTREL || *tag == DT_FLAGS && value & DF_TEXTREL != 0)
}

/// Lets go of the whole pages of it.
///
/// # Safety
/// Its whole pages are mapped from a file, and as they are there.
#[expect(unsafe_code, reason = "what a page is of is not for the compiler to know")]
unsafe fn unmap(segment: Segment) {
    let page = page_size();
    let (from, to) = (segment.at.next_multiple_of(page), (segment.at + segment.len) / page * page);
    if from < to {
        // SAFETY: whoever touches such a page has the same bytes again, from the file. Where it is refused, they stay.
        let _ = unsafe {
            libc::madvise(std::ptr::with_exposed_provenance_mut(from), to - from, libc::MADV_DONTNEED)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is mapped of this program's code, and how much of that is not as it is in the file, in KiB.
    fn code() -> (std::ops::Range<usize>, usize, usize) {
        let program = std::env::current_exe().unwrap();
        let all = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let is_code = |line: &&str| line.contains(" r-xp ") && line.ends_with(program.to_str().unwrap());
        let mut lines = all.lines().skip_while(|line| !is_code(line));
        let (from, to) = lines.next().unwrap().split_once(' ').unwrap().0.split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| usize::from_str_radix(text, 16).unwrap());
        let mut kib = |field| {
            let value = lines.find_map(|line| line.strip_prefix(field)).unwrap();
            value.trim().split_once(' ').unwrap().0.parse().unwrap()
        };
        (from..to, kib("Rss:"), kib("Anonymous:"))
    }

    #[test]
    #[expect(unsafe_code, reason = "the code of this program is read as bytes")]
    fn code_that_was_read_is_let_go_of_and_comes_back_as_it_was() {
        let whole = code().0;
        let sum = || {
            let read = |at| {
                // SAFETY: it is mapped for as long as the program runs, and never written.
                u32::from(unsafe { std::ptr::with_exposed_provenance::<u8>(at).read_volatile() })
            };
            whole.clone().step_by(64).map(read).fold(0_u32, u32::wrapping_add)
        };
        let before = sum();
        let (_, all, written) = code();
        assert_eq!(
            (all, written),
            (whole.len() / 1024, 0),
            "KiB of code: mapped after a look at it, and changed"
        );
        let_go();
        let (_, left, _) = code();
        assert!(left < all / 2, "{left} of {all} KiB are still mapped");
        assert_eq!(sum(), before);
    }
}
