// SPDX-License-Identifier: Apache-2.0
//! A process as `/proc` shows it.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::client::print::size;

/// What is shown of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    parent: u32,
    /// Whom it runs as, on the host.
    uid: u32,
    /// The kernel's letter.
    state: char,
    memory_bytes: u64,
    cpu_ms: u64,
    /// Its arguments, or its name in brackets if it has none.
    command: String,
}

impl Seen {
    /// `None` if it cannot be seen.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let dir = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| std::fs::read(dir.join(name)).ok();
        let text = |name: &str| read(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let tick = rustix::param::clock_ticks_per_second();
        Self::parse(&text("stat")?, &text("status")?, &read("cmdline").unwrap_or_default(), tick)
    }

    fn parse(stat: &str, status: &str, cmdline: &[u8], ticks_per_second: u64) -> Option<Self> {
        // The name may hold anything, so what follows is counted from its end.
        let (head, tail) = stat.rsplit_once(") ")?;
        let name = head.split_once('(')?.1;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let ticks = number(11)? + number(12)?;
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let first = |key: &str| line(key)?.split_ascii_whitespace().next()?.parse::<u64>().ok();
        let words: Vec<_> = cmdline.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let command = words.join(" ").trim_end().to_owned();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            uid: u32::try_from(first("Uid")?).ok()?,
            state: fields.first()?.chars().next()?,
            // A process that is over has none.
            memory_bytes: first("VmRSS").unwrap_or(0) * 1024,
            cpu_ms: ticks * 1000 / ticks_per_second.max(1),
            command: if command.is_empty() { format!("[{name}]") } else { command },
        })
    }

    /// Parent, user, state, memory, time and command.
    pub(super) fn cells(&self) -> [String; 6] {
        let seconds = Duration::from_millis(self.cpu_ms).as_secs();
        [
            self.parent.to_string(),
            self.uid.to_string(),
            self.state.to_string(),
            size(self.memory_bytes),
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            self.command.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_read() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 1 0 100 1000 10";
        let status = "Name:\ta\nUid:\t1000\t0\t0\t0\nVmRSS:\t    2048 kB\n";
        let seen = Seen::parse(stat, status, b"sleep\x003600\x00", 100).unwrap();
        let expected = Seen {
            parent: 7,
            uid: 1000,
            state: 'S',
            memory_bytes: 2 << 20,
            cpu_ms: 3000,
            command: "sleep 3600".into(),
        };
        assert_eq!(seen, expected);
        assert_eq!(
            seen.cells().map(|cell| cell),
            ["7", "1000", "S", "2.0 MiB", "00:00:03", "sleep 3600"].map(str::to_owned)
        );
        let over = Seen::parse(stat, "Uid:\t0\t0", b"", 100).unwrap();
        assert_eq!((over.memory_bytes, over.command.as_str()), (0, "[a) b (c]"));
        assert_eq!(Seen::parse("", status, b"", 100), None);
    }

    #[test]
    fn this_process_is_seen() {
        let me = Seen::of(std::process::id()).unwrap();
        assert_eq!(me.uid, rustix::process::geteuid().as_raw());
        assert!(me.memory_bytes > 0 && !me.command.is_empty());
        assert_eq!(Seen::of(u32::MAX), None);
    }
}
