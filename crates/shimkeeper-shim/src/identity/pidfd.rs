// SPDX-License-Identifier: Apache-2.0
//! A process held open. It cannot be mistaken for another one, even when its pid is used again.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::ioctl::{Updater, opcode};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{BootId, IdentityError, ProcessIdentity, stat};

/// A handle of a process that was checked to be the one that was meant.
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
    identity: ProcessIdentity,
}

/// How a process ended, from the kernel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessExit {
    /// It returned, with this code.
    Code(u8),
    /// A signal with this number ended it.
    Signal(u8),
}

/// `struct pidfd_info` in its first version (`linux/pidfd.h`); newer kernels take it as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

/// Asks for, and tells of, `exit_code`. Kernels before 6.15 do not know it.
const INFO_EXIT: u64 = 1 << 3;
const GET_INFO: rustix::ioctl::Opcode = opcode::read_write::<PidfdInfo>(0xff, 11);

// === impl Pidfd ===

impl Pidfd {
    /// Opens the process that has this pid now, and says who is its parent; `None` if there is none. One that has ended
    /// and waits for its parent still has its pid.
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out.
    pub fn of(pid: u32) -> Result<Option<(Self, u32)>, IdentityError> {
        let Some(fd) = open(pid)? else { return Ok(None) };
        let Some(stat) = stat(pid)? else { return Ok(None) };
        let identity = ProcessIdentity { pid, start_time: stat.start_time, boot_id: BootId::current()? };
        let this = Self { fd, identity };
        if this.has_ended()? {
            // Its pid may have been another's by the time of the look.
            return Ok(Self::open(&identity)?.map(|this| (this, stat.parent)));
        }
        Ok(Some((this, stat.parent)))
    }

    /// Opens this process; `None` if it is gone for good, whoever has its pid now.
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out.
    pub fn open(identity: &ProcessIdentity) -> Result<Option<Self>, IdentityError> {
        let is_meant = || Ok((ProcessIdentity::of(identity.pid)? == Some(*identity)).then_some(()));
        Ok(Self::open_if(identity, is_meant)?.map(|(this, ())| this))
    }

    /// The same, and the pid of its parent; `None` also if it has ended and waits for that.
    ///
    /// # Errors
    /// As [`Pidfd::open`].
    pub fn open_living(identity: &ProcessIdentity) -> Result<Option<(Self, u32)>, IdentityError> {
        Self::open_if(identity, || Ok(identity.stat_if_alive()?.map(|stat| stat.parent)))
    }

    fn open_if<T>(
        identity: &ProcessIdentity,
        is_meant: impl FnOnce() -> Result<Option<T>, IdentityError>,
    ) -> Result<Option<(Self, T)>, IdentityError> {
        let Some(fd) = open(identity.pid)? else { return Ok(None) };
        // Opened first and compared then: whoever has the pid now is the one that was opened.
        Ok(is_meant()?.map(|seen| (Self { fd, identity: *identity }, seen)))
    }

    /// Whose it is.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Sends a signal; `false` if the process has ended and was waited for.
    ///
    /// # Errors
    /// [`IdentityError`] if the signal is not allowed.
    pub fn signal(&self, signal: Signal) -> Result<bool, IdentityError> {
        match rustix::process::pidfd_send_signal(&self.fd, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(failed(self.identity.pid, "signal", errno.into())),
        }
    }

    /// Whether the process has ended, waited for or not.
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out.
    pub fn has_ended(&self) -> Result<bool, IdentityError> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        loop {
            match rustix::event::poll(&mut fds, Some(&Timespec::default())) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(self.identity.pid, "look at", errno.into())),
            }
        }
    }

    /// Waits until the process has ended, at once if it has.
    ///
    /// # Errors
    /// [`IdentityError`] if it cannot be waited for, such as for want of file descriptors.
    ///
    /// # Cancel safety
    /// Cancel safe; any number may wait at the same time.
    pub async fn exited(&self) -> Result<(), IdentityError> {
        let failed = |source| failed(self.identity.pid, "wait for", source);
        // A descriptor of its own for each waiter: one can be registered only once.
        let fd = register(self.fd.try_clone().map_err(failed)?).map_err(failed)?;
        fd.readable().await.map(drop).map_err(failed)
    }

    /// How the process ended, as the kernel knows it: before its parent has waited for it from its entry in `/proc`,
    /// after that from the pidfd, on kernels from 6.15. `None` if it runs, or nobody can say.
    ///
    /// # Errors
    /// [`IdentityError`] if the kernel refuses for another reason.
    pub fn exit_status(&self) -> Result<Option<ProcessExit>, IdentityError> {
        // The entry first: its parent may wait for it at any moment, and then the pidfd has it.
        let waiting = self.identity.wait_status()?;
        let status = match exit_info(self.fd.as_fd()) {
            Ok(info) if info.mask & INFO_EXIT != 0 => Some(info.exit_code),
            // ENOTTY, EINVAL: an older kernel. ESRCH: gone, and nothing was kept.
            Ok(_) | Err(Errno::NOTTY | Errno::INVAL | Errno::SRCH) => waiting,
            Err(errno) => return Err(failed(self.identity.pid, "ask for the exit status of", errno.into())),
        };
        Ok(status.map(ProcessExit::of_wait_status))
    }
}

/// Whoever has this pid now; `None` if nobody has.
fn open(pid: u32) -> Result<Option<OwnedFd>, IdentityError> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK) {
        Ok(fd) => Ok(Some(fd)),
        // EINVAL: the number belongs to a thread by now, so not to the process.
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(errno) => Err(failed(pid, "open", errno.into())),
    }
}

#[expect(unsafe_code, reason = "tokio cannot know that the descriptor stays open")]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

#[expect(unsafe_code, reason = "rustix has no wrapper for this ioctl yet")]
fn exit_info(fd: BorrowedFd<'_>) -> Result<PidfdInfo, Errno> {
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the opcode carries the size of `PidfdInfo`, which is laid out as the kernel's structure; the kernel
    // reads and writes that many bytes and keeps no pointer. Every bit pattern is a valid `PidfdInfo`.
    let ioctl = unsafe { Updater::<GET_INFO, PidfdInfo>::new(&mut info) };
    // SAFETY: as above; on a descriptor that is no pidfd the call fails without touching the structure.
    unsafe { rustix::ioctl::ioctl(fd, ioctl) }?;
    Ok(info)
}

// === impl ProcessExit ===

impl ProcessExit {
    /// The status as shims report it: the code, or 128 and the signal's number.
    pub fn status(self) -> u32 {
        match self {
            Self::Code(code) => u32::from(code),
            Self::Signal(number) => 128 + u32::from(number),
        }
    }

    /// From what `waitpid` hands out.
    fn of_wait_status(status: i32) -> Self {
        let [low, code, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => Self::Code(code),
            signal => Self::Signal(signal),
        }
    }
}

impl ProcessIdentity {
    /// The wait status of a process that has ended, and that nobody has waited for.
    fn wait_status(&self) -> Result<Option<i32>, IdentityError> {
        let Some(stat) = stat(self.pid)? else { return Ok(None) };
        if stat.start_time != self.start_time || stat.state != b'Z' {
            return Ok(None);
        }
        // Zero is also what the kernel shows to those who may not see it; the same right leads to its namespaces.
        let may_see = || std::fs::read_link(format!("/proc/{}/ns/user", self.pid)).is_ok();
        Ok(Some(stat.exit_code).filter(|status| *status != 0 || may_see()))
    }
}

fn failed(pid: u32, verb: &'static str, source: io::Error) -> IdentityError {
    IdentityError::Pidfd { verb, pid, source }
}
