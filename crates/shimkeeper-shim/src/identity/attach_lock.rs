// SPDX-License-Identifier: Apache-2.0
//! The kernel's lock around moves of processes between control groups, made ready before somebody needs it.
//!
//! An OCI runtime moves a container's first process, and every exec's, into the container's groups. The first such move
//! after a pause waits until the kernel has told every processor that the lock is about to be used (an RCU grace period,
//! 5 to 30 ms). For about as long again after a move the lock stays as it is, and the next one takes microseconds. So a
//! move that moves nothing, a moment earlier, takes the wait away from the runtime's: it happens while the shim is still
//! starting up.
//!
//! Nothing is moved: one thread is told to go where it is, by its own id. `0` would not do, because a thread that moves
//! itself needs no lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::thread::gettid;

use super::cgroup::{ROOT, hierarchy, memberships};
use super::read_virtual_text;

/// The lock, as one thread can take it. Every thread needs its own.
#[derive(Debug)]
pub struct AttachLock {
    threads: File,
    own_id: Vec<u8>,
}

impl AttachLock {
    /// The list of threads of a group that the calling thread is in.
    ///
    /// # Errors
    /// What the kernel says, such as `NotFound` where the groups are not mounted, or not for this process, and
    /// `PermissionDenied` where they may not be written to.
    pub fn of_this_thread() -> io::Result<Self> {
        let groups = read_virtual_text("/proc/thread-self/cgroup")?;
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for list in lists(&groups) {
            match OpenOptions::new().write(true).open(list) {
                Ok(threads) => {
                    let own_id = gettid().as_raw_nonzero().to_string().into_bytes();
                    return Ok(Self { threads, own_id });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Takes the lock and gives it back; blocks for a grace period if nobody had it lately.
    ///
    /// # Errors
    /// What the kernel says; nothing has happened then.
    pub fn make_ready(&mut self) -> io::Result<()> {
        self.threads.write_all(&self.own_id)
    }
}

/// The files that list the threads of the groups in this text, version 2 first.
fn lists(groups: &str) -> Vec<PathBuf> {
    let list = |(controllers, path): (&str, &str)| match controllers {
        "" => Path::new(ROOT).join(path).join("cgroup.threads"),
        controllers => hierarchy(controllers).join(path).join("tasks"),
    };
    let mut lists: Vec<_> = memberships(groups).map(list).collect();
    lists.sort_by_key(|list| !list.ends_with("cgroup.threads"));
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_comes_first_and_each_line_is_understood() {
        let text = "9:name=systemd:/a\n2:cpu,cpuacct:/\nnonsense\n0::/b/c\n";
        let expected = ["b/c/cgroup.threads", "systemd/a/tasks", "cpu,cpuacct/tasks"];
        assert_eq!(lists(text), expected.map(|path| Path::new(ROOT).join(path)));
        assert!(lists("").is_empty());
    }

    #[test]
    fn nothing_is_moved() {
        let own = || std::fs::read_to_string("/proc/thread-self/cgroup").unwrap();
        let before = own();
        match AttachLock::of_this_thread() {
            Ok(mut lock) => {
                lock.make_ready().unwrap();
                lock.make_ready().unwrap();
            }
            Err(error) => assert!(
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
                    || error.kind() == io::ErrorKind::ReadOnlyFilesystem,
                "{error}"
            ),
        }
        assert_eq!(own(), before);
    }
}
