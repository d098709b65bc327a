// SPDX-License-Identifier: Apache-2.0
//! A process as `/proc` shows it.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::client::print::size;

/// What is shown of it; nothing where it cannot be seen: in a virtual machine, or over already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    parent: Option<u32>,
    /// Whom it runs as, on the host.
    uid: Option<u32>,
    /// The kernel's letter.
    state: Option<char>,
    memory_bytes: Option<u64>,
    cpu_ms: Option<u64>,
    /// Its arguments, or its name in brackets if it has none that can be read.
    command: Option<String>,
}

impl Seen {
    /// `cmdline` is what it was started with, if that is known.
    pub(super) fn of(pid: u32, cmdline: Option<&Vec<u8>>) -> Self {
        Self::read(pid, cmdline.map_or(&[], Vec::as_slice)).unwrap_or_default()
    }

    fn read(pid: u32, cmdline: &[u8]) -> Option<Self> {
        let dir = Path::new("/proc").join(pid.to_string());
        let text =
            |name: &str| Some(String::from_utf8_lossy(&std::fs::read(dir.join(name)).ok()?).into_owned());
        let tick = rustix::param::clock_ticks_per_second();
        Self::parse(&text("stat")?, &text("status")?, cmdline, tick)
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
            parent: u32::try_from(number(1)?).ok(),
            uid: u32::try_from(first("Uid")?).ok(),
            state: fields.first()?.chars().next(),
            // A process that is over has none.
            memory_bytes: Some(first("VmRSS").unwrap_or(0) * 1024),
            cpu_ms: Some(ticks * 1000 / ticks_per_second.max(1)),
            command: Some(if command.is_empty() { format!("[{name}]") } else { command }),
        })
    }

    /// Parent, user, state, memory, time and command.
    pub(super) fn cells(&self) -> [String; 6] {
        let clock = |cpu_ms| {
            let seconds = Duration::from_millis(cpu_ms).as_secs();
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        };
        let cells = [
            self.parent.map(|pid| pid.to_string()),
            self.uid.map(|uid| uid.to_string()),
            self.state.map(String::from),
            self.memory_bytes.map(size),
            self.cpu_ms.map(clock),
            self.command.clone(),
        ];
        cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::top::commands;

    #[test]
    fn any_name_is_read() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 1 0 100 1000 10";
        let status = "Name:\ta\nUid:\t1000\t0\t0\t0\nVmRSS:\t    2048 kB\n";
        let seen = Seen::parse(stat, status, b"sleep\x003600\x00", 100).unwrap();
        let expected = Seen {
            parent: Some(7),
            uid: Some(1000),
            state: Some('S'),
            memory_bytes: Some(2 << 20),
            cpu_ms: Some(3000),
            command: Some("sleep 3600".into()),
        };
        assert_eq!(seen, expected);
        assert_eq!(
            seen.cells().map(|cell| cell),
            ["7", "1000", "S", "2.0 MiB", "00:00:03", "sleep 3600"].map(str::to_owned)
        );
        let over = Seen::parse(stat, "Uid:\t0\t0", b"", 100).unwrap();
        assert_eq!((over.memory_bytes, over.command.as_deref()), (Some(0), Some("[a) b (c]")));
        assert_eq!(Seen::parse("", status, b"", 100), None);
    }

    #[test]
    fn this_process_is_seen() {
        let pid = std::process::id();
        let me = Seen::of(pid, commands::of(std::iter::once(pid)).get(&pid));
        assert_eq!(me.uid, Some(rustix::process::geteuid().as_raw()));
        assert!(me.memory_bytes > Some(0) && me.command.is_some_and(|command| !command.is_empty()));
    }

    #[test]
    fn one_that_is_over_has_every_field_and_nothing_in_it() {
        let over = Seen::of(u32::MAX, None);
        assert_eq!(over.cells(), ["-"; 6]);
        let fields = serde_json::to_value(&over).unwrap();
        let fields = fields.as_object().unwrap();
        assert!(fields.len() == 6 && fields.values().all(serde_json::Value::is_null), "{fields:?}");
    }
}
