// SPDX-License-Identifier: Apache-2.0
//! What processes were started with. That is in their own memory, and one that hangs may keep whoever reads it waiting for
//! ever: so each has a thread that reads it, and all of them together so much time. Who is not through by then is told by
//! its name.

use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How long it takes at most. It takes microseconds where nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(1);

/// Enough for opening and reading a file.
const STACK: usize = 64 << 10;

/// The `cmdline` of these processes, as far as they let it be read. A thread that hangs ends with this program.
pub(super) fn of(pids: impl Iterator<Item = u32>) -> HashMap<u32, Vec<u8>> {
    let (tell, told) = channel();
    for pid in pids {
        let tell = tell.clone();
        // Nobody hears it if it comes too late.
        let read = move || {
            let _ = tell.send((pid, std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()));
        };
        let _ = thread::Builder::new().stack_size(STACK).spawn(read);
    }
    drop(tell);
    let until = Instant::now() + PATIENCE;
    let next = || told.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    std::iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests {
    use shimkeeper_testkit::Standstill;

    use super::*;

    #[test]
    fn real_of_a_standstill_nothing_is_read_and_of_others_all() {
        let dir = tempfile::tempdir().unwrap();
        let standstill = Standstill::new(("A", "b"), dir.path()).unwrap();
        let began = Instant::now();
        let me = std::process::id();
        let read = of([standstill.pid(), me, u32::MAX].into_iter());
        assert!(began.elapsed() < PATIENCE * 10, "{:?}", began.elapsed());
        assert!(!read.contains_key(&standstill.pid()) && !read[&me].is_empty() && read[&u32::MAX].is_empty());
        drop(standstill);
    }
}
