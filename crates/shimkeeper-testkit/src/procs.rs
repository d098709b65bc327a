// SPDX-License-Identifier: Apache-2.0
//! Processes as `/proc` shows them: found by what they carry, killed without ever meaning another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// A process, as far as this user may look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    pub(crate) args: Vec<String>,
    pub(crate) environ: Vec<String>,
    pub(crate) cwd: Option<PathBuf>,
}

/// Every process that `wanted` accepts, except this one and the dead.
pub(crate) fn find(mut wanted: impl FnMut(&Seen) -> bool) -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter_map(look)
        .filter(|seen| wanted(seen))
        .collect()
}

/// What the process is now. `None` for one that is gone, and for a zombie, which has no arguments any more.
fn look(pid: u32) -> Option<Seen> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let args = strings(&dir.join("cmdline")).filter(|args| !args.is_empty())?;
    let environ = strings(&dir.join("environ")).unwrap_or_default();
    Some(Seen { pid, args, environ, cwd: fs::read_link(dir.join("cwd")).ok() })
}

fn strings(path: &Path) -> Option<Vec<String>> {
    let bytes = fs::read(path).ok()?;
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    Some(parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect())
}

/// Stops a process, and waits until every thread of it stands still: the signal alone is heard a moment later.
///
/// # Panics
/// If there is no such process, or it does not stand still within half a minute.
pub fn stop_process(pid: u32) {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process has a positive number");
    kill_process(process, Signal::STOP).expect("the process is there");
    let stands = |thread: io::Result<fs::DirEntry>| {
        let stat = thread.and_then(|thread| fs::read_to_string(thread.path().join("stat")));
        // A thread that is gone by now stands still, too.
        stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('T')))
    };
    let until = Instant::now() + Duration::from_secs(30);
    while !fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there").all(stands) {
        assert!(Instant::now() < until, "{pid} does not stand still");
        std::thread::yield_now();
    }
}

/// Kills what `find` found and waits until it is dead. The process is looked at again once it is held, so a pid
/// that meanwhile belongs to another is left alone.
pub(crate) fn kill(seen: &Seen, deadline: Duration) -> io::Result<()> {
    let Some(pid) = i32::try_from(seen.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    if look(seen.pid).is_none_or(|now| now.args != seen.args) {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    let until = Instant::now() + deadline;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
