// SPDX-License-Identifier: Apache-2.0
//! Waits until something is written to a directory's files, or to one file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Enough for one note with the longest name; those that do not fit are read next.
const NOTES_BYTES: usize = 512;

/// Notices what is written from the moment it is made.
#[derive(Debug)]
pub(crate) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// On this directory or file.
    pub(crate) fn on(path: &Path) -> io::Result<Self> {
        let notes = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&notes, path, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::CLOSE_WRITE)?;
        Ok(Self(register(notes)?))
    }

    /// Waits until something has changed since the last time.
    ///
    /// # Cancel safety
    /// Nothing is missed.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        let mut notes = [0_u8; NOTES_BYTES];
        let mut any = false;
        loop {
            // What the notes say does not matter: whoever is woken looks at the files.
            match rustix::io::read(self.0.get_ref(), &mut notes) {
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if any => return Ok(()),
                Err(Errno::WOULDBLOCK) => self.0.readable().await?.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio cannot know that the descriptor stays open")]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
