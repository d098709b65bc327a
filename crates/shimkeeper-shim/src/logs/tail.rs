// SPDX-License-Identifier: Apache-2.0
//! The last lines, bounded in number and in bytes.

use std::collections::VecDeque;

const MAX_LINES: usize = 64;
const MAX_BYTES: usize = 16 * 1024;

/// Takes no memory until there is a line.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<Box<str>>,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
        self.lines.push_back(line.into());
        self.bytes += line.len();
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let oldest = self.lines.pop_front().expect("something was just pushed");
            self.bytes -= oldest.len();
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_by_number_and_by_size() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(&number.to_string());
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[63].as_str()), (64, "36", "99"));
        for _ in 0..100 {
            tail.push(&"x".repeat(1024));
        }
        assert_eq!((tail.lines().len(), tail.bytes), (16, MAX_BYTES));
        tail.push(&"x".repeat(MAX_BYTES + 1));
        assert_eq!((tail.lines().len(), tail.bytes), (0, 0), "one that is too long for itself");
    }
}
