// SPDX-License-Identifier: Apache-2.0
//! The keys by which one leaves a terminal without ending what runs on it: Ctrl-P Ctrl-Q, as docker has it.
//!
//! The first of them is held back until the next key tells what was meant; alone it is passed on then.

const FIRST: u8 = 0x10;
const SECOND: u8 = 0x11;

/// Looks for the keys in what is typed.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    held: bool,
}

impl Keys {
    /// What of `typed` is to be passed on, and whether the keys were pressed; what was typed after them is dropped.
    pub(crate) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for &key in typed {
            if self.held && key == SECOND {
                self.held = false;
                return (passed, true);
            }
            if self.held {
                passed.push(FIRST);
            }
            self.held = key == FIRST;
            if !self.held {
                passed.push(key);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(chunks: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = Keys::default();
        let mut passed = Vec::new();
        for chunk in chunks {
            let (more, left) = keys.pass(chunk);
            passed.extend(more);
            if left {
                return (passed, true);
            }
        }
        (passed, false)
    }

    #[test]
    fn the_keys_are_found_wherever_they_are_cut() {
        for chunks in
            [&[&b"ls\r\x10\x11rest"[..]][..], &[b"ls\r\x10", b"\x11"], &[b"ls\r", b"\x10", b"\x11x"]]
        {
            assert_eq!(typed(chunks), (b"ls\r".to_vec(), true), "{chunks:?}");
        }
    }

    #[test]
    fn everything_else_is_passed_on_in_order() {
        for text in [&b"plain"[..], b"\x11", b"a\x10b", b"\x10\x10a", b"\x11\x10z"] {
            assert_eq!(typed(&[text]), (text.to_vec(), false), "{text:?}");
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(typed(&bytes), (text.to_vec(), false), "{text:?}");
        }
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true), "the last two count");
        assert_eq!(typed(&[b"held\x10"]), (b"held".to_vec(), false), "until the next key");
    }
}
