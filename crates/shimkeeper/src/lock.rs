// SPDX-License-Identifier: Apache-2.0
//! The lock on a manager's directories: a second manager on the same ones fails at once and names the first.
//!
//! An advisory lock of the kernel, so it is gone with its process, however that ended.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use shimkeeper_core::{HasKind, Kind};
use shimkeeper_shim::{ProcessIdentity, StateDirs};

const NAME: &str = "shimkeeper.lock";

/// More than it takes from a child's first moment to its own program.
const SPAWNING: Duration = Duration::from_secs(2);

/// containerd's database, below its root directory.
const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A live manager has it.
    #[error("{} is in use by {}", dir.display(), holder_text(*.holder))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Process id of the manager that uses it, where it could be read.
        holder: Option<u32>,
    },
    /// The lock file could not be used.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    match holder {
        Some(pid) if pid == std::process::id() => format!("another manager of this process ({pid})"),
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

impl HasKind for LockError {
    fn kind(&self) -> Kind {
        match self {
            Self::Held { .. } => Kind::FailedPrecondition,
            Self::Io { source, .. } => Kind::of_io(source),
        }
    }
}

/// The locks of one manager.
#[derive(Debug)]
pub(crate) struct Locks {
    _state: DirLock,
    _root: DirLock,
    _containerd: ContainerdLock,
}

impl Locks {
    /// Locks both directories.
    pub(crate) fn acquire(dirs: &StateDirs) -> Result<Self, LockError> {
        Ok(Self {
            _state: DirLock::acquire(dirs.state())?,
            _root: DirLock::acquire(dirs.root())?,
            _containerd: ContainerdLock::acquire(dirs.root())?,
        })
    }
}

/// A locked directory; free again when dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Said aloud, because closing is not enough: a child that is being spawned has a copy of the descriptor until
        // it executes its program, and with it the lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl DirLock {
    /// Locks `dir`. One whose holder is dead is waited for, shortly: it was killed while it spawned a child, which has
    /// the lock until it executes its program.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, LockError> {
        let ends = Instant::now() + SPAWNING;
        loop {
            match Self::try_acquire(dir) {
                Err(LockError::Held { holder: Some(holder), .. })
                    if is_dead(holder) && Instant::now() < ends =>
                {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
                tried => return tried,
            }
        }
    }

    fn try_acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(NAME);
        let fail = |verb, source: std::io::Error| LockError::Io { verb, path: path.clone(), source };
        loop {
            let mut file = open(&path).map_err(|e| fail("open", e))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut text = String::new();
                    let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                    return Err(LockError::Held { dir: dir.to_owned(), holder });
                }
                Err(errno) => return Err(fail("lock", errno.into())),
            }
            // Whoever had it may have removed it with its directory while it was being opened here.
            if !is_at(&file, &path).map_err(|e| fail("examine", e))? {
                continue;
            }
            // The pid is a courtesy to whoever comes second; a full disk must not keep the first from starting.
            // As long as any other, and so in the place of the last one: to empty the file is work for a disk.
            let _ = file.write_all_at(format!("{:<10}\n", std::process::id()).as_bytes(), 0);
            return Ok(Self { file });
        }
    }
}

/// containerd's lock on a root directory that is its own, too: it keeps its database locked while it runs.
#[derive(Debug)]
struct ContainerdLock {
    _lock: Option<DirLock>,
}

impl ContainerdLock {
    /// Takes the lock if containerd was ever here: it then waits with its start until we have left, instead of ending
    /// the tasks that it cannot reach. Shared, because we do not write to the database.
    fn acquire(root: &Path) -> Result<Self, LockError> {
        let path = root.join(DATABASE);
        let fail = |verb, source: std::io::Error| LockError::Io { verb, path: path.clone(), source };
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = match File::options().read(true).custom_flags(no_follow).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { _lock: None }),
            Err(error) => return Err(fail("open", error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Self { _lock: Some(DirLock { file }) }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(LockError::Held { dir: root.to_owned(), holder: holder_of(&file) })
            }
            Err(errno) => Err(fail("lock", errno.into())),
        }
    }
}

/// Who has a file locked, as the kernel tells.
fn holder_of(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // "1: FLOCK  ADVISORY  WRITE 4711 fd:00:131 0 EOF"
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, pid, on, ..] = words.as_slice() else { return None };
        (on.rsplit(':').next()? == inode).then(|| pid.parse().ok())?
    })
}

fn is_dead(pid: u32) -> bool {
    matches!(ProcessIdentity::of(pid), Ok(None))
}

fn open(path: &Path) -> std::io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_follow);
    options.open(path)
}

/// Whether the path still leads to the file.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_by_name_and_the_lock_goes_with_its_holder() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        // That of somebody whose pid was longer than any here.
        std::fs::write(dir.path().join(NAME), "4294967295\n").unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        let told = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert_eq!(told.trim(), std::process::id().to_string());
        let refused = DirLock::acquire(dir.path()).unwrap_err();
        assert_eq!(refused.kind(), Kind::FailedPrecondition);
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        let _inherited = first.file.try_clone().unwrap();
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_that_went_with_its_directory_locks_nothing() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let path = dir.path().join(NAME);
        let removed = open(&path).unwrap();
        assert!(is_at(&removed, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&removed, &path).unwrap());
        let _lock = DirLock::acquire(dir.path()).unwrap();
        assert!(!is_at(&removed, &path).unwrap(), "another file of the same name");
    }

    #[test]
    fn a_containerd_that_runs_is_named_and_one_that_starts_has_to_wait() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        ContainerdLock::acquire(dir.path()).unwrap();
        let database = dir.path().join(DATABASE);
        std::fs::create_dir(database.parent().unwrap()).unwrap();
        let containerd = File::create(&database).unwrap();
        let exclusive = || flock(&containerd, FlockOperation::NonBlockingLockExclusive);
        exclusive().unwrap();
        let refused = ContainerdLock::acquire(dir.path()).unwrap_err();
        assert_eq!(refused.kind(), Kind::FailedPrecondition);
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        flock(&containerd, FlockOperation::Unlock).unwrap();
        let ours = ContainerdLock::acquire(dir.path()).unwrap();
        assert_eq!(exclusive().unwrap_err(), rustix::io::Errno::WOULDBLOCK);
        drop(ours);
        exclusive().unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_not_followed() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(NAME)).unwrap();
        assert!(matches!(DirLock::acquire(dir.path()), Err(LockError::Io { verb: "open", .. })));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn the_lock_of_the_dead_is_waited_for() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        std::fs::write(dir.path().join(NAME), dead.id().to_string()).unwrap();
        // What the child of a killed manager does once it runs its own program.
        let child = std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_millis(50));
            drop(lock);
        });
        DirLock::acquire(dir.path()).unwrap();
        child.join().unwrap();
    }
}
