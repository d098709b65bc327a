// SPDX-License-Identifier: Apache-2.0
//! Reads files of a root filesystem without ever leaving it.
//!
//! A root filesystem comes from an image, and `etc/passwd -> /etc/shadow` is one `ln -s` away. So every path is
//! resolved by the kernel as if the root filesystem were `/` (`RESOLVE_IN_ROOT`): a link may point anywhere, it
//! ends up inside.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use shimkeeper_core::{HasKind, Kind};

/// Why something could not be read from a root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// The root filesystem itself cannot be opened.
    #[error("open the root filesystem {}", path.display())]
    Open {
        /// Its path on the host.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// A file in it cannot be read.
    #[error("read {} in the root filesystem", path.display())]
    Read {
        /// Its path in the container.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A file in it is larger than any honest one.
    #[error("{} in the root filesystem is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// Its path in the container.
        path: PathBuf,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// A file in it is something else: a directory, a device, a FIFO.
    #[error("{} in the root filesystem is not a regular file", path.display())]
    NotAFile {
        /// Its path in the container.
        path: PathBuf,
    },
}

impl HasKind for RootfsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Open { source: Errno::NOTDIR | Errno::LOOP, .. }
            | Self::TooLarge { .. }
            | Self::NotAFile { .. } => Kind::InvalidArgument,
            Self::Open { source, .. } => Kind::of_io(&(*source).into()),
            Self::Read { source, .. } => Kind::of_io(source),
        }
    }
}

/// An opened root filesystem.
#[derive(Debug)]
pub(crate) struct Rootfs {
    dir: OwnedFd,
}

/// What a path in the container leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Missing,
    Directory,
    File { executable: bool },
    Other,
}

impl Rootfs {
    pub(crate) fn open(path: &Path) -> Result<Self, RootfsError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map(|dir| Self { dir })
            .map_err(|source| RootfsError::Open { path: path.to_owned(), source })
    }

    /// What is at `path`, which is taken relative to the root of the container.
    pub(crate) fn node(&self, path: &Path) -> Result<Node, RootfsError> {
        let failed = |source: Errno| RootfsError::Read { path: path.to_owned(), source: source.into() };
        let fd = match self.open_inside(path, OFlags::PATH) {
            Ok(fd) => fd,
            // A loop of links and a file used as a directory are, for who looks for a command, "not there".
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Node::Missing),
            Err(errno) => return Err(failed(errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Node::Directory,
            FileType::RegularFile => Node::File { executable: stat.st_mode & 0o111 != 0 },
            _ => Node::Other,
        })
    }

    /// The content of a small file; `None` when there is none.
    pub(crate) fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, RootfsError> {
        let path = Path::new(path);
        let failed = |source: std::io::Error| RootfsError::Read { path: path.to_owned(), source };
        // Non-blocking, or a FIFO in the place of the file would hold us here for ever.
        let fd = match self.open_inside(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failed(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(RootfsError::NotAFile { path: path.to_owned() });
        }
        let mut content = Vec::new();
        std::fs::File::from(fd).take(limit_bytes + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > limit_bytes {
            return Err(RootfsError::TooLarge { path: path.to_owned(), limit_bytes });
        }
        Ok(Some(content))
    }

    fn open_inside(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }
}

/// Whether `path` on the host is a directory; the error of looking, otherwise.
pub(crate) fn host_directory(path: &Path) -> rustix::io::Result<bool> {
    let stat = rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty())?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_and_dots_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "outside").unwrap();
        let dir = outside.path().join("rootfs");
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        symlink(outside.path().join("secret"), dir.join("etc/absolute")).unwrap();
        symlink("../../secret", dir.join("etc/relative")).unwrap();
        symlink("loop", dir.join("etc/loop")).unwrap();

        let rootfs = Rootfs::open(&dir).unwrap();
        for path in ["etc/absolute", "etc/relative", "../secret", "/../../secret"] {
            assert_eq!(rootfs.read(path, 100).unwrap(), None, "{path}");
            assert_eq!(rootfs.node(Path::new(path)).unwrap(), Node::Missing, "{path}");
        }
        assert_eq!(rootfs.node(Path::new("etc/loop")).unwrap(), Node::Missing);

        // The same links work when the target is inside.
        std::fs::write(dir.join("secret"), "inside").unwrap();
        assert_eq!(rootfs.read("etc/relative", 100).unwrap().unwrap(), b"inside");
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let fifo = dir.path().join("etc/fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        std::fs::write(dir.path().join("etc/big"), [b'x'; 101]).unwrap();

        let rootfs = Rootfs::open(dir.path()).unwrap();
        assert!(matches!(rootfs.read("etc/fifo", 100), Err(RootfsError::NotAFile { .. })));
        assert!(matches!(rootfs.read("etc", 100), Err(RootfsError::NotAFile { .. })));
        assert!(matches!(rootfs.read("etc/big", 100), Err(RootfsError::TooLarge { .. })));
        assert_eq!(rootfs.read("etc/big", 101).unwrap().unwrap().len(), 101);
    }

    #[test]
    fn tells_what_a_path_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let rootfs = Rootfs::open(dir.path()).unwrap();
        assert_eq!(rootfs.node(Path::new("/file")).unwrap(), Node::File { executable: false });
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(rootfs.node(Path::new("/file")).unwrap(), Node::File { executable: true });
        assert_eq!(rootfs.node(Path::new("/")).unwrap(), Node::Directory);
        assert_eq!(rootfs.node(Path::new("/file/x")).unwrap(), Node::Missing);
    }

    #[test]
    fn a_missing_root_filesystem_is_named() {
        let error = Rootfs::open(Path::new("/nonexistent/rootfs")).unwrap_err();
        assert_eq!(error.to_string(), "open the root filesystem /nonexistent/rootfs");
        assert_eq!(error.kind(), Kind::NotFound);
    }
}
