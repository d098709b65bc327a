// SPDX-License-Identifier: Apache-2.0
//! Whether a process runs a program that Go's tool chain has made: each of those has a note that says so, stripped or not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The begin of an ELF file for 64 bits, little end first; others are not looked into.
const IDENT: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// Bytes of the header at the begin of the file.
const HEADER: usize = 64;
/// Bytes of the header of a segment.
const SEGMENT: usize = 56;
/// More segments than any program has.
const MAX_SEGMENTS: usize = 64;
/// The kind of segment that holds notes.
const PT_NOTE: u32 = 4;
/// As much as is read of one.
const MAX_NOTES: usize = 4096;
/// Who wrote a note, and of which kind: `ELF_NOTE_GOBUILDID`.
const OWNER: &[u8] = b"Go\0\0";
const BUILD_ID: u32 = 4;

/// Whether this process runs a program that is written in Go. `false` where that cannot be found out.
///
/// Reads a few hundred bytes of its executable file.
pub fn is_go_program(pid: u32) -> bool {
    File::open(format!("/proc/{pid}/exe")).is_ok_and(|file| has_note(&file).unwrap_or(false))
}

fn has_note(file: &impl FileExt) -> io::Result<bool> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let (table, size, count) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
    if !header.starts_with(&IDENT) || usize::from(size) != SEGMENT {
        return Ok(false);
    }
    let mut segments = vec![0; SEGMENT * usize::from(count).min(MAX_SEGMENTS)];
    file.read_exact_at(&mut segments, table)?;
    for segment in segments.chunks_exact(SEGMENT).filter(|segment| u32_at(segment, 0) == PT_NOTE) {
        let length = usize::try_from(u64_at(segment, 32)).unwrap_or(MAX_NOTES).min(MAX_NOTES);
        let mut notes = vec![0; length];
        file.read_exact_at(&mut notes, u64_at(segment, 8))?;
        if is_among(&notes) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each note: the lengths of owner and content, the kind, then both, each up to a multiple of four bytes.
fn is_among(mut notes: &[u8]) -> bool {
    while let Some((head, rest)) = notes.split_at_checked(12) {
        let length = |at| usize::try_from(u32_at(head, at)).ok()?.checked_next_multiple_of(4);
        let (Some(owner), Some(content)) = (length(0), length(4)) else { return false };
        let Some((owner, rest)) = rest.split_at_checked(owner) else { return false };
        if owner == OWNER && u32_at(head, 8) == BUILD_ID {
            return true;
        }
        notes = rest.get(content..).unwrap_or_default();
    }
    false
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..].first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl FileExt for Bytes {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
            io::Read::read(&mut &self.0[from..], buf)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            unreachable!("nobody writes")
        }
    }

    fn note(owner: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut note = [&length(owner)[..], &length(content), &kind.to_le_bytes()].concat();
        for part in [owner, content] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    /// A program with one segment of notes.
    fn program(notes: &[u8]) -> Bytes {
        let mut bytes = vec![0; HEADER + SEGMENT];
        bytes[..6].copy_from_slice(&IDENT);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 4;
        bytes[64 + 8] = 120;
        bytes[64 + 32..64 + 34].copy_from_slice(&u16::try_from(notes.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(notes);
        Bytes(bytes)
    }

    #[test]
    fn the_note_is_found_among_others_and_no_other_is_taken_for_it() {
        let (gnu, go) = (note(b"GNU\0", 3, b"12345"), note(b"Go\0\0", 4, b"abc/def/ghi"));
        assert!(has_note(&program(&[gnu.clone(), go.clone()].concat())).unwrap());
        assert!(!has_note(&program(&[gnu, note(b"Go\0\0", 3, b"abc")].concat())).unwrap());
        assert!(!has_note(&program(&note(b"Gone", 4, b"abc"))).unwrap());
    }

    #[test]
    fn what_is_no_program_or_a_damaged_one_is_not_written_in_go() {
        let whole = program(&note(b"Go\0\0", 4, b"abc")).0;
        for length in 0..whole.len() - 1 {
            assert!(!has_note(&Bytes(whole[..length].to_vec())).unwrap_or(false), "{length}");
        }
        assert!(!has_note(&Bytes(vec![0xff; 4096])).unwrap_or(false));
        let lengths_that_lie = [&[0xff; 8][..], &[4, 0, 0, 0], b"Go\0\0"].concat();
        assert!(!has_note(&program(&lengths_that_lie)).unwrap());
        assert!(!is_go_program(std::process::id()) && !is_go_program(0));
    }
}
