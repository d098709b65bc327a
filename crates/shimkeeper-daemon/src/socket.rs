// SPDX-License-Identifier: Apache-2.0
//! A socket with a name: made so that nobody's live one is taken, and nobody connects before its mode is right.
//!
//! ```text
//! lock NAME.lock ─▶ connect? ─┬─ somebody listens ─▶ refuse, and name who
//!                             └─ nobody ─▶ remove ─▶ bind ─▶ chmod, chown ─▶ listen
//! ```
//! The lock is for two daemons that start at the same moment, the connecting for a daemon that knows nothing of locks.
//! Before `listen` nobody can connect, whatever the mode is.

mod activation;
mod claim;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shimkeeper_core::{HasKind, Kind};

pub(crate) use activation::Activated;
use claim::Claim;

/// Room for a path in a socket's address, without the closing zero byte.
pub(crate) const MAX_PATH: usize = 107;

/// Who may connect: whoever may write.
const MODE: u32 = 0o660;
/// Directories on the way, where they are missing: to be passed through, not looked into.
const DIR_MODE: u32 = 0o711;
/// How many may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens on it.
    #[error("{} is in use by {}", path.display(), holder_text(*.holder))]
    Live {
        /// The socket.
        path: PathBuf,
        /// Process id of who listens, where the kernel says it.
        holder: Option<u32>,
    },
    /// Something else has the name.
    #[error("{} is there and is no socket", path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
    /// A socket was passed by the service manager that nobody asked for.
    #[error("the service manager passed {passed}, which is neither grpc.address nor ttrpc.address")]
    NotAsked {
        /// Where it listens.
        passed: String,
    },
    /// The file system or the kernel refused.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl HasKind for SocketError {
    fn kind(&self) -> Kind {
        match self {
            Self::Live { .. } | Self::NotASocket { .. } => Kind::FailedPrecondition,
            Self::NotAsked { .. } => Kind::InvalidArgument,
            Self::Io { source, .. } => Kind::of_io(source),
        }
    }
}

/// A socket that is listened on. Dropping it removes its name, unless the service manager made it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// What was made here, and is removed here.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    /// Device and number of the socket's file.
    file: (u64, u64),
    _claim: Claim,
}

impl Socket {
    /// Makes the socket, or takes the one that the service manager has made.
    pub(crate) fn open(
        path: &Path,
        owner: (Option<u32>, Option<u32>),
        activated: &mut Activated,
    ) -> Result<Self, SocketError> {
        match activated.take(path) {
            Some(listener) => Ok(Self { listener, path: path.to_owned(), own: None }),
            None => Self::bind(path, owner),
        }
    }

    fn bind(path: &Path, (uid, gid): (Option<u32>, Option<u32>)) -> Result<Self, SocketError> {
        let fail = |verb, source: io::Error| SocketError::Io { verb, path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, DIR_MODE);
            builder.recursive(true).create(parent).map_err(|e| fail("make the directory of", e))?;
        }
        let claim = Claim::acquire(path)?;
        remove_stale(path)?;
        let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let address = SocketAddrUnix::new(path).map_err(|e| fail("listen on", e.into()))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(family, kind, flags, None).map_err(|e| fail("make", e.into()))?;
        rustix::net::bind(&socket, &address).map_err(|e| fail("bind", e.into()))?;
        let meta = std::fs::symlink_metadata(path).map_err(|e| fail("examine", e))?;
        // From here on its name goes with it, also when the rest fails.
        let own = Own { file: (meta.dev(), meta.ino()), _claim: claim };
        let socket = Self { listener: socket.into(), path: path.to_owned(), own: Some(own) };
        let mode = std::fs::Permissions::from_mode(MODE);
        std::fs::set_permissions(path, mode).map_err(|e| fail("set the mode of", e))?;
        std::os::unix::fs::lchown(path, uid, gid).map_err(|e| fail("set the owner of", e))?;
        rustix::net::listen(&socket.listener, BACKLOG).map_err(|e| fail("listen on", e.into()))?;
        Ok(socket)
    }

    /// A second handle on what is listened on.
    pub(crate) fn listener(&self) -> Result<UnixListener, SocketError> {
        let fail = |source| SocketError::Io { verb: "listen on", path: self.path.clone(), source };
        self.listener.set_nonblocking(true).and_then(|()| self.listener.try_clone()).map_err(fail)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(own) = &self.own else { return };
        let is_ours = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == own.file;
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // Whoever finds it later finds that nobody listens.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket on which nobody listens any more.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let fail = |verb, source: io::Error| SocketError::Io { verb, path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail("examine", error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match probe(path) {
        Ok(holder) => Err(SocketError::Live { path: path.to_owned(), holder }),
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(|e| fail("remove the stale", e)),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(fail("connect to", errno.into())),
    }
}

/// Connects, and answers who listens.
fn probe(path: &Path) -> Result<Option<u32>, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let peer = rustix::net::sockopt::socket_peercred(&socket);
            Ok(peer.ok().and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok()))
        }
        // So many wait to be accepted that there is no room for one more.
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests;
