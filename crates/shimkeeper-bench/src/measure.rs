// SPDX-License-Identifier: Apache-2.0
//! What this process and those it started have used: processor time, memory, descriptors.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::error::BenchError;

/// Processor time until now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// Of this process, all its threads.
    pub(crate) own: Duration,
    /// Of every descendant that was waited for. As a subreaper this process waits for the shims as well, and
    /// those for all they ran.
    pub(crate) others: Duration,
}

impl Cpu {
    pub(crate) fn now() -> Self {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        Self { own: duration(own.tv_sec, own.tv_nsec), others: children() }
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { own: self.own.saturating_sub(earlier.own), others: self.others.saturating_sub(earlier.others) }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { own: self.own + other.own, others: self.others + other.others }
    }
}

/// Processor time of another process, all its threads, until now. What it started is not in it.
#[expect(
    unsafe_code,
    reason = "there is no safe wrapper for the clocks of other processes among the dependencies"
)]
pub(crate) fn cpu_of(pid: u32) -> Result<Duration, BenchError> {
    let failed =
        |number| BenchError::io("read the clock of a process", std::io::Error::from_raw_os_error(number));
    let mut clock: libc::clockid_t = 0;
    let pid = libc::pid_t::try_from(pid).map_err(|_| failed(libc::ESRCH))?;
    // SAFETY: the pointer is to a number of the right type that outlives the call.
    match unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } {
        0 => {}
        number => return Err(failed(number)),
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a structure of the right type that outlives the call.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(BenchError::io("read the clock of a process", std::io::Error::last_os_error()));
    }
    Ok(duration(time.tv_sec, time.tv_nsec))
}

/// The machine's clock, the same for every process.
pub(crate) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    duration(now.tv_sec, now.tv_nsec)
}

fn duration(seconds: i64, nanos: i64) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    seconds + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[expect(unsafe_code, reason = "there is no safe wrapper for getrusage among the dependencies")]
fn children() -> Duration {
    // SAFETY: `rusage` is numbers only, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a structure of the right type that outlives the call.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) } != 0 {
        return Duration::ZERO;
    }
    let of = |time: libc::timeval| duration(time.tv_sec, time.tv_usec * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// What a process holds now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    /// Resident memory, in KiB.
    pub(crate) rss: u64,
    /// The part of it that is not backed by a file, in KiB: heap and stacks.
    pub(crate) anonymous: u64,
    /// Open descriptors.
    pub(crate) fds: usize,
}

impl Holdings {
    /// Of this process.
    pub(crate) fn now() -> Result<Self, BenchError> {
        let held = Self::below(Path::new("/proc/self"))?;
        // Without the one that lists them.
        Ok(Self { fds: held.fds.saturating_sub(1), ..held })
    }

    /// Of another.
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        Self::below(&Path::new("/proc").join(pid.to_string()))
    }

    fn below(process: &Path) -> Result<Self, BenchError> {
        let rollup = std::fs::read_to_string(process.join("smaps_rollup"))
            .map_err(|e| BenchError::io("read a process's smaps_rollup", e))?;
        let fds = std::fs::read_dir(process.join("fd"))
            .map_err(|e| BenchError::io("list a process's descriptors", e))?;
        Ok(Self { rss: kib(&rollup, "Rss:"), anonymous: kib(&rollup, "Anonymous:"), fds: fds.count() })
    }
}

fn kib(rollup: &str, field: &str) -> u64 {
    let value = rollup.lines().find_map(|line| line.strip_prefix(field));
    value.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_table_is_read() {
        let text = "Rss:                1234 kB\nAnonymous:           56 kB\n";
        assert_eq!((kib(text, "Rss:"), kib(text, "Anonymous:"), kib(text, "Swap:")), (1234, 56, 0));
    }

    #[test]
    fn an_open_file_is_counted_once() {
        let before = Holdings::now().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Holdings::now().unwrap().fds, before.fds + 1);
        drop(file);
        assert!(before.rss >= before.anonymous && before.anonymous > 0);
    }

    #[test]
    fn another_process_has_a_clock_and_holdings() {
        let me = std::process::id();
        let before = cpu_of(me).unwrap();
        while cpu_of(me).unwrap() == before {}
        assert!(Holdings::of(me).unwrap().rss > 0);
        assert!(cpu_of(u32::MAX).is_err() && Holdings::of(u32::MAX).is_err());
    }

    #[test]
    fn a_child_that_was_waited_for_counts() {
        let before = Cpu::now();
        std::process::Command::new("/bin/true").status().unwrap();
        assert!(Cpu::now().since(before).others > Duration::ZERO);
    }
}
