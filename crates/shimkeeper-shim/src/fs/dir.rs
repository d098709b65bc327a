// SPDX-License-Identifier: Apache-2.0
//! A directory held by its handle, with the path kept for people to read.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use shimkeeper_core::Incarnation;

use super::{Durability, FsError};

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// One entry of a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    /// What the file system says it is; `Unknown` on those that do not tell.
    pub(crate) kind: FileType,
}

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

// === opening ===

impl Dir {
    /// Opens a directory that the operator named. Links on the way are theirs; the last component is none.
    pub(crate) fn open(path: &Path) -> Result<Self, FsError> {
        let fd = rustix::fs::open(path, DIR_FLAGS, Mode::empty())
            .map_err(|errno| FsError::new("open the directory", path, errno))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory below this one, given by one or more plain components.
    pub(crate) fn open_dir(&self, below: impl AsRef<Path>) -> Result<Self, FsError> {
        self.open_dir_with(below.as_ref(), BENEATH)
    }

    /// Like [`Dir::open_dir`], but refuses with `EXDEV` to enter what is mounted there.
    ///
    /// The kernel makes the comparison while it looks the name up, bind mounts included, so there is no moment
    /// between check and use in which a mount could slip in.
    pub(crate) fn open_dir_same_mount(&self, name: &OsStr) -> Result<Self, FsError> {
        self.open_dir_with(Path::new(name), BENEATH.union(ResolveFlags::NO_XDEV))
    }

    fn open_dir_with(&self, below: &Path, resolve: ResolveFlags) -> Result<Self, FsError> {
        let path = self.path.join(below);
        match rustix::fs::openat2(&self.fd, below, DIR_FLAGS, Mode::empty(), resolve) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(FsError::new("open the directory", path, errno)),
        }
    }

    /// Opens a file below this directory.
    pub(crate) fn open_file(&self, name: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd, FsError> {
        let (name, flags) = (name.as_ref(), flags | OFlags::NOFOLLOW | OFlags::CLOEXEC);
        rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), BENEATH)
            .map_err(|errno| self.error("open", name, errno))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn error(&self, verb: &'static str, name: impl AsRef<Path>, errno: Errno) -> FsError {
        FsError::new(verb, self.path.join(name), errno)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

// === reading ===

impl Dir {
    /// What there is under the name, links not followed.
    pub(crate) fn stat(&self, name: impl AsRef<Path>) -> Result<Option<Stat>, FsError> {
        match rustix::fs::statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error("examine", name, errno)),
        }
    }

    /// The entries, without `.` and `..`.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, FsError> {
        let failed = |errno| FsError::new("list", &self.path, errno);
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                entries.push(Entry { name: OsStr::from_bytes(name).to_owned(), kind: entry.file_type() });
            }
        }
        Ok(entries)
    }

    /// Reads a regular file of at most `limit` bytes; `None` if it is not there.
    ///
    /// Anything else under the name, such as a FIFO that would block or a device that would answer, is refused
    /// with `EINVAL`; a longer file with `EFBIG`.
    pub(crate) fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, FsError> {
        let fd = match self.open_file(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(fd) => fd,
            Err(error) if error.is(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.error("examine", name, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.error("read as a regular file", name, Errno::INVAL));
        }
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        let bytes = read_up_to(&fd, size, limit).map_err(|errno| self.error("read", name, errno))?;
        if bytes.len() > limit {
            return Err(self.error("read", name, Errno::FBIG));
        }
        Ok(Some(bytes))
    }
}

/// What is in a regular file of about this size, and a byte more than `limit` at most: with one read, if that is the size.
fn read_up_to(fd: &OwnedFd, size: usize, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(size.min(limit) + 1);
    while bytes.len() <= limit {
        let room = bytes.capacity() - bytes.len();
        match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => break,
            // All that there was when its size was asked for, and nothing came since.
            Ok(read) if read < room && bytes.len() >= size => break,
            Ok(_) => bytes.reserve(1),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}

// === changing ===

impl Dir {
    /// Makes a directory that must not be there yet, with exactly this mode.
    pub(crate) fn make_dir(&self, name: impl AsRef<Path>, mode: u32) -> Result<(), FsError> {
        let name = name.as_ref();
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::mkdirat(&self.fd, name, mode)
            .map_err(|errno| self.error("make the directory", name, errno))?;
        // The umask has cut the mode; the name is ours, so nothing else can be under it by now.
        rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty()).map_err(|errno| {
            let _ = self.remove_dir(name);
            self.error("set the mode of", name, errno)
        })
    }

    /// Makes a directory with exactly this mode unless there is one; an existing one is left as it is.
    pub(crate) fn ensure_dir(&self, name: impl AsRef<Path>, mode: u32) -> Result<(), FsError> {
        match self.make_dir(name, mode) {
            Err(error) if error.is(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// Makes a FIFO with exactly this mode unless something has the name.
    pub(crate) fn make_fifo(&self, name: &str, mode: u32) -> Result<(), FsError> {
        let mode = Mode::from_raw_mode(mode);
        match rustix::fs::mkfifoat(&self.fd, name, mode) {
            Ok(()) => rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty())
                .map_err(|errno| self.error("set the mode of", name, errno)),
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.error("make the FIFO", name, errno)),
        }
    }

    pub(crate) fn make_symlink(&self, target: &Path, name: &str) -> Result<(), FsError> {
        rustix::fs::symlinkat(target, &self.fd, name)
            .map_err(|errno| self.error("make the link", name, errno))
    }

    /// Gives a directory of ours to a group, with exactly this mode.
    pub(crate) fn give_to_group(&self, name: impl AsRef<Path>, gid: u32, mode: u32) -> Result<(), FsError> {
        let name = name.as_ref();
        let group = Some(rustix::fs::Gid::from_raw(gid));
        rustix::fs::chownat(&self.fd, name, None, group, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.error("set the group of", name, errno))?;
        rustix::fs::chmodat(&self.fd, name, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(|errno| self.error("set the mode of", name, errno))
    }

    pub(crate) fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), FsError> {
        rustix::fs::renameat(&self.fd, from.as_ref(), &self.fd, to.as_ref())
            .map_err(|errno| self.error("rename", from, errno))
    }

    pub(crate) fn unlink(&self, name: impl AsRef<Path>) -> Result<(), FsError> {
        rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::empty())
            .map_err(|errno| self.error("remove", name, errno))
    }

    pub(crate) fn remove_dir(&self, name: impl AsRef<Path>) -> Result<(), FsError> {
        rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::REMOVEDIR)
            .map_err(|errno| self.error("remove the directory", name, errno))
    }

    /// See [`super::write_atomic`].
    pub(crate) fn write_atomic(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        durability: Durability,
    ) -> Result<(), FsError> {
        let draft = format!(".{name}-{}", Incarnation::fresh());
        let written = self.write_new(&draft, bytes, mode, durability).and_then(|()| {
            rustix::fs::renameat(&self.fd, &draft, &self.fd, name)
                .map_err(|errno| self.error("put in place", name, errno))
        });
        if let Err(error) = written {
            let _ = self.unlink(&draft);
            return Err(error);
        }
        match durability {
            Durability::Process => Ok(()),
            Durability::Machine => rustix::fs::fsync(&self.fd)
                .map_err(|errno| FsError::new("sync the directory", &self.path, errno)),
        }
    }

    /// Adds to a regular file that is there and `len` bytes long, with one write. What else is under the name, or is
    /// longer or shorter, is left as it is, and refused with `EINVAL`. Of what fails after that, a piece may be in the file.
    pub(crate) fn append(
        &self,
        name: impl AsRef<Path>,
        len: u64,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), FsError> {
        let name = name.as_ref();
        // Not waiting for whoever reads a FIFO in its place.
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open_file(name, flags)?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.error("examine", name, errno))?;
        let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_regular || u64::try_from(stat.st_size) != Ok(len) {
            return Err(self.error("find as it was left", name, Errno::INVAL));
        }
        let mut file = File::from(fd);
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => {}
            Ok(_) => return Err(self.error("write all to", name, Errno::NOSPC)),
            Err(source) => return Err(FsError::new("write to", self.path.join(name), source)),
        }
        match durability {
            Durability::Process => Ok(()),
            Durability::Machine => {
                file.sync_data().map_err(|source| FsError::new("sync", self.path.join(name), source))
            }
        }
    }

    fn write_new(&self, name: &str, bytes: &[u8], mode: u32, durability: Durability) -> Result<(), FsError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let fd = rustix::fs::openat2(&self.fd, name, flags, mode, BENEATH)
            .map_err(|errno| self.error("create", name, errno))?;
        rustix::fs::fchmod(&fd, mode).map_err(|errno| self.error("set the mode of", name, errno))?;
        let mut file = File::from(fd);
        file.write_all(bytes).map_err(|source| FsError::new("write", self.path.join(name), source))?;
        match durability {
            Durability::Process => Ok(()),
            Durability::Machine => {
                file.sync_all().map_err(|source| FsError::new("sync", self.path.join(name), source))
            }
        }
    }
}
