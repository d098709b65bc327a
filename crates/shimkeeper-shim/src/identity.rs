// SPDX-License-Identifier: Apache-2.0
//! Which process is meant: a pid alone is used again, so it is never acted on alone.
//!
//! An identity is pid, start time and boot. It survives our own restart on disk; a [`Pidfd`] is the same thing
//! held open, and the only way a signal leaves this crate for a process that is not our child.

mod attach_lock;
mod boot_id;
mod cgroup;
mod command_line;
mod go;
mod mark;
mod pidfd;
mod reader;
mod strays;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use shimkeeper_core::{HasKind, Kind};

pub use attach_lock::AttachLock;
pub use boot_id::{BootId, ParseBootIdError};
pub use cgroup::Cgroup;
pub use command_line::{ShimProcesses, listening_socket, program};
pub use go::is_go_program;
pub(crate) use mark::MARK;
pub use mark::{Findings, Launch, find_by_mark, mark_of};
pub use pidfd::{Pidfd, ProcessExit};
pub use strays::{Stray, strays};

/// One process of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// When it was started, in clock ticks after the boot.
    pub start_time: u64,
    /// The boot.
    pub boot_id: BootId,
}

/// Why nothing can be said about a process. Never to be taken for its death.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The kernel's file about it cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's file about it does not parse.
    #[error("cannot understand {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
    },
    /// A call on its pidfd failed.
    #[error("cannot {verb} process {pid}")]
    Pidfd {
        /// What was tried.
        verb: &'static str,
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Clock ticks per second, as far as programs are told, whatever the kernel uses.
const TICKS: u64 = 100;

/// What the kernel puts behind the name of a file or directory that has been removed. No id has a blank in it.
const REMOVED: &[u8] = b" (deleted)";

/// Room for all of `/proc/<pid>/stat`: some fifty numbers of at most twenty digits, and a name.
const STAT_LEN: usize = 2048;

/// What most files of the kernel's fit into, in bytes.
const USUAL: usize = 4096;

/// What `/proc/<pid>/stat` says, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: u32,
    threads: u32,
    start_time: u64,
    /// What its parent will be told; 0 also where we may not see it.
    exit_code: i32,
}

/// How far up a process's ancestors are looked at.
const MAX_GENERATIONS: usize = 64;

// === impl ProcessIdentity ===

impl ProcessIdentity {
    /// The process that has this pid now; `None` if there is none. One that has ended and waits for its parent
    /// still has its pid.
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out.
    pub fn of(pid: u32) -> Result<Option<Self>, IdentityError> {
        let Some(stat) = stat(pid)? else { return Ok(None) };
        Ok(Some(Self { pid, start_time: stat.start_time, boot_id: BootId::current()? }))
    }

    /// Whether it runs still. One that has ended and waits for its parent does not.
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out; it may be either then.
    pub fn is_alive(&self) -> Result<bool, IdentityError> {
        Ok(self.stat_if_alive()?.is_some())
    }

    fn stat_if_alive(&self) -> Result<Option<Stat>, IdentityError> {
        if self.boot_id != BootId::current()? {
            return Ok(None);
        }
        let Some(stat) = stat(self.pid)? else { return Ok(None) };
        Ok((stat.start_time == self.start_time && !stat.has_ended()).then_some(stat))
    }

    /// Whether it is who has its pid now. Asked after something was read by the pid, which may have been another's by then.
    fn is_there(&self) -> Result<bool, IdentityError> {
        Ok(Self::of(self.pid)? == Some(*self))
    }

    /// When it was started, by the clock as it is now; to about a hundredth of a second.
    pub fn started_at(&self) -> SystemTime {
        let age =
            uptime().saturating_sub(Duration::from_millis(self.start_time.saturating_mul(1000 / TICKS)));
        SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether it is this other process, or a child of it, or a child's child, …
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out.
    pub fn descends_from(&self, ancestor: &Self) -> Result<bool, IdentityError> {
        if self == ancestor {
            return Ok(true);
        }
        match stat(self.pid)? {
            Some(stat) => ancestor.is_at_or_above(stat.parent),
            None => Ok(false),
        }
    }

    /// Whether it is the process that has this pid now, or the parent of it, or the parent's parent, …; not the first of
    /// all processes, whose child every orphan becomes.
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out.
    pub fn is_at_or_above(&self, mut pid: u32) -> Result<bool, IdentityError> {
        if self.boot_id != BootId::current()? {
            return Ok(false);
        }
        // Parents are older than their children, so this ends; the bound is for a /proc that says otherwise.
        for _ in 0..MAX_GENERATIONS {
            if pid <= 1 {
                break;
            }
            let Some(stat) = stat(pid)? else { break };
            if (pid, stat.start_time) == (self.pid, self.start_time) {
                return Ok(true);
            }
            pid = stat.parent;
        }
        Ok(false)
    }
}

// === impl Stat ===

impl Stat {
    /// Whether the process waits for its parent only.
    fn has_ended(&self) -> bool {
        // The first thread may have ended while others still hold what the process has open.
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }
}

/// The pids there are: all of them, or an error. Whoever is missing here would be taken for gone.
fn processes() -> Result<Vec<u32>, IdentityError> {
    let names = fs::read_dir("/proc")
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let names = names.map_err(|source| IdentityError::Read { path: "/proc".into(), source })?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// How long ago the boot was.
fn uptime() -> Duration {
    let up = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(up.tv_sec).unwrap_or(0), u32::try_from(up.tv_nsec).unwrap_or(0))
}

/// Now, as start times are told.
fn ticks() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(0) / (1000 / TICKS)
}

fn stat(pid: u32) -> Result<Option<Stat>, IdentityError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    // One read is all of it: the kernel makes the line anew for each.
    let mut text = [0; STAT_LEN];
    match fs::File::open(&path).and_then(|mut file| file.read(&mut text)) {
        Ok(len) => parse_stat(&text[..len]).map(Some).ok_or(IdentityError::Parse { path }),
        // ESRCH: it went between opening and reading.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(source) => Err(IdentityError::Read { path, source }),
    }
}

/// A file of the kernel's, at most so much of it. Such files have no size, for which the standard library asks before it
/// reads them in many small pieces.
pub(crate) fn read_virtual(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL);
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As [`read_virtual`], of text, and all of it.
fn read_virtual_text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read_virtual(path, u64::MAX)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The second field is the program's name in parentheses, and may itself hold parentheses and blanks; what
/// counts begins after the last one. Fields 20, 22 and 52 are the number of threads, the start time and the wait status
/// (proc_pid_stat(5)).
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|b| *b == b')')?;
    let mut fields = text[end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let parent = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let threads = std::str::from_utf8(fields.nth(15)?).ok()?.parse().ok()?;
    let start_time = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    let exit_code = std::str::from_utf8(fields.nth(29)?).ok()?.parse().ok()?;
    Some(Stat { state, parent, threads, start_time, exit_code })
}

// === impl IdentityError ===

impl HasKind for IdentityError {
    fn kind(&self) -> Kind {
        match self {
            Self::Parse { .. } => Kind::Internal,
            Self::Read { source, .. } | Self::Pidfd { source, .. } => Kind::of_io(source),
        }
    }
}

#[cfg(test)]
mod tests;
