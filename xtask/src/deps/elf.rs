// SPDX-License-Identifier: Apache-2.0
//! Whether a program runs without a dynamic loader, read from its ELF header.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// The program header that names the dynamic loader.
const PT_INTERP: u32 = 3;
const HEADER_BYTES: usize = 64;
/// Real programs have about ten program headers; more is not a program we would run.
const MOST_PROGRAM_HEADERS: usize = 128;

/// Whether `file` is a 64-bit little-endian ELF program without a loader. Anything else is "no".
pub(crate) fn is_static(file: &Path) -> io::Result<bool> {
    let mut file = File::open(file)?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(false);
    }
    let start = u64::from_le_bytes(header[32..40].try_into().expect("eight bytes were cut out"));
    let size = usize::from(u16::from_le_bytes([header[54], header[55]]));
    let count = usize::from(u16::from_le_bytes([header[56], header[57]]));
    if size < 4 || count > MOST_PROGRAM_HEADERS {
        return Ok(false);
    }
    let mut table = vec![0; size * count];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut table)?;
    Ok(!table.chunks_exact(size).any(|entry| entry[..4] == PT_INTERP.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_itself_is_dynamic() {
        assert!(!is_static(&std::env::current_exe().unwrap()).unwrap());
    }

    #[test]
    fn a_text_is_no_program() {
        assert!(!is_static(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs"))).unwrap());
    }
}
