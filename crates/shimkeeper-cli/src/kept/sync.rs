// SPDX-License-Identifier: Apache-2.0
//! How a reader learns that what the container had written so far is in the files: it leaves a byte in a FIFO, which the
//! driver takes only when nothing else is to be done. Shims hold the output open until the task is deleted, so its end
//! is no answer to that.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::{Errno, ioctl_fionread};
use tokio::net::unix::pipe;

/// The FIFO in a driver's directory.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("sync")
}

/// The driver's end, made if it is missing.
pub(super) fn open(dir: &Path) -> io::Result<pipe::Receiver> {
    let path = path(dir);
    match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    // For both, so that it never ends for want of a reader who asks.
    pipe::OpenOptions::new().read_write(true).open_receiver(&path)
}

/// A reader's question.
#[derive(Debug)]
pub(crate) struct Sync(Option<pipe::Sender>);

impl Sync {
    /// Asks; answered at once if no driver is there.
    pub(crate) fn ask(dir: &Path) -> Self {
        let asked = || {
            let fifo = pipe::OpenOptions::new().open_sender(path(dir))?;
            // A FIFO that is full of questions will be answered like one more.
            let _ = rustix::io::write(&fifo, &[0]);
            Ok::<_, io::Error>(fifo)
        };
        Self(asked().ok())
    }

    /// Whether the driver has answered.
    pub(crate) fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|fifo| !matches!(ioctl_fionread(fifo), Ok(1..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_when_it_was_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Sync::ask(dir.path()).is_done(), "nobody is there");
        let driver = open(dir.path()).unwrap();
        let (first, second) = (Sync::ask(dir.path()), Sync::ask(dir.path()));
        assert!(!first.is_done() && !second.is_done());
        driver.readable().await.unwrap();
        assert_eq!(driver.try_read(&mut [0; 16]).unwrap(), 2);
        assert!(first.is_done() && second.is_done());
        drop(driver);
        assert!(Sync::ask(dir.path()).is_done(), "nobody is there any more");
    }
}
