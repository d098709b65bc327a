// SPDX-License-Identifier: Apache-2.0
//! Looks at other processes that may stand still. What a process was started with, its arguments and its environment, is
//! in its own memory, and the kernel takes that memory's lock to read it: whoever hangs while it holds the lock, on a disk
//! or a file system of its own making, has every reader wait for as long as it likes. So a thread of its own looks, and is
//! waited for only so long.
//!
//! ```text
//! look ─▶ thread ─▶ seen ─▶ the next look
//!            └─ not in time: given up, remembered until it is through ─▶ another thread for the next look
//! ```
//!
//! What the kernel has in tables of its own (`stat`, `status`, `cgroup`, `exe`, `cwd`, `fd`, `ns`) takes no such lock and
//! needs none of this.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use shimkeeper_core::Kind;

use super::{ProcessIdentity, read_virtual};

/// How long a look is waited for. It takes microseconds where nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many threads may hang at once. After that nobody is looked at in this way until one of them is through.
const MOST: usize = 8;

/// Enough for opening and reading a file.
const STACK: usize = 64 << 10;

/// Who stands still, each with the thread that waits for it, as long as that is there: of all the process, as the threads
/// are.
static STUCK: Mutex<Vec<(ProcessIdentity, Weak<()>)>> = Mutex::new(Vec::new());

/// How much of a file is read, in bytes; the kernel allows a few MiB of arguments and environment.
const MAX_FILE: u64 = 8 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// Looks at one process after the other. Blocking, but never for ever.
#[derive(Default)]
pub(super) struct Reader(Option<Looking>);

/// A thread that ends with its handle, or with the look that it was given up in.
struct Looking {
    jobs: Sender<Job>,
    is_there: Weak<()>,
}

impl Reader {
    /// What this file of the process's directory in `/proc` says, as far as there is anything to be seen: nothing of one
    /// that has gone, or that we may not read. `None` if it stands still, or cannot be looked at now.
    pub(super) fn read(&mut self, process: &ProcessIdentity, file: &str) -> Option<Vec<u8>> {
        let path = format!("/proc/{}/{file}", process.pid);
        let bytes = match self.look(process, move || read_virtual(path, MAX_FILE))? {
            Err(error) if Kind::of_io(&error) == Kind::ResourceExhausted => return None,
            bytes => bytes.unwrap_or_default(),
        };
        // Compared after that: the pid may have gone to another process before it.
        Some(if process.is_there().ok()? { bytes } else { Vec::new() })
    }

    /// What there is to see of the process; `None` if it stands still, or so many do that nobody is looked at.
    pub(super) fn look<T: Send + 'static>(
        &mut self,
        process: &ProcessIdentity,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if stuck().iter().any(|(stuck, _)| stuck == process) {
            return None;
        }
        let looking = self.0.take().or_else(Looking::begin)?;
        let (tell, told) = channel();
        // Nobody hears it if it comes too late.
        let job = move || drop(tell.send(look()));
        looking.jobs.send(Box::new(job)).ok()?;
        match told.recv_timeout(PATIENCE) {
            Ok(seen) => {
                self.0 = Some(looking);
                Some(seen)
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(pid = process.pid, "the memory of a process cannot be read: it stands still");
                stuck().push((*process, looking.is_there));
                None
            }
            // The look panicked, and the thread with it.
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

impl Looking {
    fn begin() -> Option<Self> {
        if stuck().len() >= MOST {
            return None;
        }
        let (jobs, work) = channel::<Job>();
        let alive = Arc::new(());
        let is_there = Arc::downgrade(&alive);
        let run = move || {
            for job in work {
                job();
            }
            drop(alive);
        };
        // Where no thread can be had, nobody is looked at: this one may be the one that serves calls.
        thread::Builder::new().name("reader".into()).stack_size(STACK).spawn(run).ok()?;
        Some(Self { jobs, is_there })
    }
}

/// Those that still stand still.
fn stuck() -> std::sync::MutexGuard<'static, Vec<(ProcessIdentity, Weak<()>)>> {
    let mut stuck = STUCK.lock().unwrap_or_else(PoisonError::into_inner);
    stuck.retain(|(_, is_there)| is_there.strong_count() > 0);
    stuck
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Instant;

    use super::*;
    use crate::BootId;

    fn nobody(pid: u32) -> ProcessIdentity {
        ProcessIdentity { pid, start_time: 1, boot_id: BootId::current().unwrap() }
    }

    /// A look that takes until the sender is dropped.
    fn hanging() -> (std::sync::mpsc::SyncSender<()>, impl FnOnce() + Send + 'static) {
        let (release, wait): (_, Receiver<()>) = sync_channel(0);
        (release, move || assert!(wait.recv().is_err()))
    }

    fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(10), "{what}");
            thread::yield_now();
        }
    }

    /// One test for all of it: who is stuck is remembered for the whole process.
    #[test]
    fn who_stands_still_is_given_up_once_and_looked_at_again_when_it_moves() {
        let mut reader = Reader::default();
        assert_eq!(reader.look(&nobody(1), || 7), Some(7));
        let (release, look) = hanging();
        assert_eq!(reader.look(&nobody(2), look), None);
        assert_eq!(reader.look(&nobody(1), || 8), Some(8), "others are still seen");
        let began = Instant::now();
        assert_eq!(Reader::default().look(&nobody(2), || 9), None);
        assert!(began.elapsed() < PATIENCE / 2, "it is not waited for again, whoever looks");
        let another_life = ProcessIdentity { start_time: 2, ..nobody(2) };
        assert_eq!(reader.look(&another_life, || 10), Some(10));
        drop(release);
        eventually("it is looked at again", || Reader::default().look(&nobody(2), || 11) == Some(11));

        // Of many at once only so many threads hang. A reader that has one goes on with it.
        let releases: Vec<_> = (10..)
            .take(MOST + 2)
            .map(|pid| {
                let (release, look) = hanging();
                assert_eq!(Reader::default().look(&nobody(pid), look), None);
                release
            })
            .collect();
        assert_eq!(stuck().len(), MOST);
        assert_eq!(reader.look(&nobody(1), || 12), Some(12));
        assert_eq!(Reader::default().look(&nobody(1), || 13), None);
        drop(releases);
        eventually("all are through", || stuck().is_empty());
        assert_eq!(Reader::default().look(&nobody(1), || 14), Some(14));
    }
}
