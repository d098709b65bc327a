// SPDX-License-Identifier: Apache-2.0
//! The journal's directory: ours, closed to others, locked, and nothing in it is followed anywhere.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::JournalError;

/// An open and locked directory. The lock ends with it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

const MODE: Mode = Mode::RWXU;

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let error = |verb| move |source: Errno| file_error(verb, path.to_owned(), source.into());
        match fs::mkdir(path, MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => return Err(error("create directory")(source)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty()).map_err(error("open directory"))?;
        let stat = fs::fstat(&fd).map_err(error("look at directory"))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(JournalError::NotOurs { path: path.to_owned(), owner: stat.st_uid });
        }
        if Mode::from_raw_mode(stat.st_mode) != MODE {
            fs::fchmod(&fd, MODE).map_err(error("restrict directory"))?;
        }
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), fd }),
            Err(Errno::WOULDBLOCK) => Err(JournalError::Locked { path: path.to_owned() }),
            Err(source) => Err(error("lock directory")(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of what is in the directory; those that are no UTF-8 are none of ours.
    pub(super) fn names(&self) -> Result<Vec<String>, JournalError> {
        let error = |source: Errno| self.error("list", "", source.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(error)? {
            if let Ok(name) = entry.map_err(error)?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a file that must be there.
    pub(super) fn open_file(&self, name: &str) -> Result<File, JournalError> {
        self.file("open", name, OFlags::empty())
    }

    /// Makes a file that must not be there.
    pub(super) fn create_file(&self, name: &str) -> Result<File, JournalError> {
        self.file("create", name, OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file, or makes it.
    pub(super) fn open_or_create_file(&self, name: &str) -> Result<File, JournalError> {
        self.file("open", name, OFlags::CREATE)
    }

    pub(super) fn remove_file(&self, name: &str) -> Result<(), JournalError> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(self.error("remove", name, source.into())),
        }
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        fs::fsync(&self.fd).map_err(|source| self.error("sync directory", "", source.into()))
    }

    pub(super) fn error(&self, verb: &'static str, name: &str, source: io::Error) -> JournalError {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        file_error(verb, path, source)
    }

    fn file(&self, verb: &'static str, name: &str, how: OFlags) -> Result<File, JournalError> {
        // Not blocking, so that a pipe put in a file's place is refused below instead of waited for.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | how;
        let error = |source: Errno| self.error(verb, name, source.into());
        let fd = fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR).map_err(error)?;
        let stat = fs::fstat(&fd).map_err(error)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(JournalError::NotAFile { path: self.path.join(name) });
        }
        Ok(File::from(fd))
    }
}

pub(super) fn file_error(verb: &'static str, path: PathBuf, source: io::Error) -> JournalError {
    JournalError::File { verb, path, source }
}
