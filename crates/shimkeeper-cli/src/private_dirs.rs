// SPDX-License-Identifier: Apache-2.0
//! The private directories of runs: one for each run that was given none, gone with its end.
//!
//! ```text
//! /run/shimkeeper/            $XDG_RUNTIME_DIR/shimkeeper/ for others than root
//! ├── run-3f9a01c7/           one run
//! │   └── state/  root/       the manager's; the runtime keeps its own state in there too
//! └── io-82c0d511/            the FIFOs of one process that a daemon runs and that is in the foreground here
//! ```
//! While a manager is on them, its own lock says so. Before that, and while one is removed, the base is locked:
//! shared by runs, and by `cleanup` alone, so that it never takes a run that begins or ends for one that was killed.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use shimkeeper_core::Kind;

use crate::failure::Failure;

/// How the name of every run's directory begins.
pub(crate) const PREFIX: &str = "run-";

/// How the name of every directory of FIFOs begins.
pub(crate) const IO_PREFIX: &str = "io-";

/// A name that begins like this and that nobody else has.
pub(crate) fn unique_name(prefix: &str) -> String {
    let random =
        getrandom::u32().expect("the kernel's random numbers are available once the system has started");
    format!("{prefix}{random:08x}")
}

/// Where they are.
#[derive(Debug)]
pub(crate) struct Base {
    path: PathBuf,
    dir: File,
}

/// The base, locked; free again when dropped.
#[derive(Debug)]
pub(crate) struct BaseLock {
    dir: File,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PrivateDir {
    path: PathBuf,
}

impl Base {
    /// This user's base, which is made if it is missing.
    pub(crate) fn of_user() -> Result<Self, Failure> {
        let user = rustix::process::geteuid().as_raw();
        Self::at(&place(user, std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from))?, user)
    }

    fn at(path: &Path, user: u32) -> Result<Self, Failure> {
        make_dir(path, true)?;
        let failed =
            |error| Failure::io(format!("open the directory {}", path.display()), &error, OTHER_PLACE);
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
        let dir = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let meta = dir.metadata().map_err(failed)?;
        // Whoever else can write there could put a link in the place of our files.
        if meta.uid() != user || meta.mode() & 0o022 != 0 {
            let what =
                format!("{} is not a directory that only its owner, this user, can write", path.display());
            return Err(Failure::new(Kind::FailedPrecondition, what, OTHER_PLACE));
        }
        Ok(Self { path: path.to_owned(), dir })
    }

    /// For a run that begins or ends.
    pub(crate) fn share(&self) -> Result<BaseLock, Failure> {
        self.lock(FlockOperation::LockShared)
    }

    /// For looking at the runs while none begins or ends.
    pub(crate) fn hold(&self) -> Result<BaseLock, Failure> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, operation: FlockOperation) -> Result<BaseLock, Failure> {
        let failed =
            |error| Failure::io(format!("lock {}", self.path.display()), &error, "try again in a moment");
        // Opened anew: a lock belongs to the opening, and this one is let go of by itself.
        let dir = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.dir)));
        let dir = dir.map_err(failed)?;
        loop {
            match flock(&dir, operation) {
                Ok(()) => return Ok(BaseLock { dir }),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// Makes the directory of the run of this name. The base has to be locked.
    pub(crate) fn make(&self, name: &str, _lock: &BaseLock) -> Result<PrivateDir, Failure> {
        let path = self.path.join(name);
        make_dir(&path, false)?;
        Ok(PrivateDir { path })
    }

    /// Every run's directory, in the order of their names.
    pub(crate) fn list(&self) -> Result<Vec<PrivateDir>, Failure> {
        self.beginning(PREFIX)
    }

    /// Every directory of FIFOs, in the order of their names.
    pub(crate) fn list_io(&self) -> Result<Vec<PrivateDir>, Failure> {
        self.beginning(IO_PREFIX)
    }

    /// The one this is, if it is one of FIFOs.
    pub(crate) fn io(&self, path: &Path) -> Option<PrivateDir> {
        let name = path.file_name()?.as_encoded_bytes();
        let is_one = path.parent() == Some(&self.path) && name.starts_with(IO_PREFIX.as_bytes());
        is_one.then(|| PrivateDir { path: path.to_owned() })
    }

    fn beginning(&self, prefix: &str) -> Result<Vec<PrivateDir>, Failure> {
        let failed = |error| {
            Failure::io(format!("list {}", self.path.display()), &error, "check the directory's permissions")
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_one = entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes());
            if is_one && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(PrivateDir { path: entry.path() });
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

impl Drop for BaseLock {
    fn drop(&mut self) {
        // Said aloud: a child that is being spawned has a copy of the descriptor until it executes its program.
        let _ = flock(&self.dir, FlockOperation::Unlock);
    }
}

impl PrivateDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// Removes it once the manager has removed what is in it.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        self.removed(std::fs::remove_dir(&self.path))
    }

    /// Removes it with what is in it: nothing was ever run there, or mounted.
    pub(crate) fn discard(&self) -> Result<(), Failure> {
        self.removed(std::fs::remove_dir_all(&self.path))
    }

    fn removed(&self, result: std::io::Result<()>) -> Result<(), Failure> {
        let what = format!("remove {}", self.path.display());
        result.map_err(|error| Failure::io(what, &error, "see what is left in it, and remove it by hand"))
    }
}

const OTHER_PLACE: &str = "remove it, or choose other directories with --state and --root";

fn place(user: u32, runtime_dir: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if user == 0 {
        return Ok(PathBuf::from("/run/shimkeeper"));
    }
    let runtime_dir = runtime_dir.filter(|dir| dir.is_absolute());
    runtime_dir.map(|dir| dir.join("shimkeeper")).ok_or_else(|| {
        let what = "there is no place for the files of this run: XDG_RUNTIME_DIR is not set";
        Failure::new(Kind::FailedPrecondition, what, "set it, or give directories with --state and --root")
    })
}

/// 0711: a container with its own user namespace has to pass through.
fn make_dir(path: &Path, may_exist: bool) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().mode(0o711).create(path);
    match made {
        Err(error) if !(may_exist && error.kind() == std::io::ErrorKind::AlreadyExists) => {
            let hint = "check its parent directory, or choose others with --state and --root";
            Err(Failure::io(format!("make the directory {}", path.display()), &error, hint))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn others_than_root_need_a_runtime_directory() {
        assert_eq!(place(0, None).unwrap(), Path::new("/run/shimkeeper"));
        assert_eq!(place(7, Some("/run/user/7".into())).unwrap(), Path::new("/run/user/7/shimkeeper"));
        assert!(place(7, None).unwrap_err().hint.unwrap().contains("--state"));
        assert!(place(7, Some("relative".into())).is_err());
    }

    #[test]
    fn private_directories_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let base = Base::at(&dir.path().join("shimkeeper"), me()).unwrap();
        let lock = base.share().unwrap();
        let private = base.make("run-1", &lock).unwrap();
        assert_eq!((private.name().as_str(), private.path()), ("run-1", &*base.path.join("run-1")));
        assert_eq!(std::fs::metadata(private.path()).unwrap().mode() & 0o777, 0o711);
        assert!(base.make("run-1", &lock).is_err(), "the name is taken");
        std::fs::create_dir(base.path.join("others")).unwrap();
        std::fs::write(base.path.join("run-file"), "").unwrap();
        assert_eq!(base.list().unwrap(), std::slice::from_ref(&private));

        std::fs::create_dir_all(private.state().join("deep/er")).unwrap();
        assert!(private.remove().is_err());
        private.discard().unwrap();
        assert!(base.list().unwrap().is_empty());
    }

    #[test]
    fn runs_share_the_base_and_cleanup_has_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let base = Base::at(&dir.path().join("shimkeeper"), me()).unwrap();
        let shared = [base.share().unwrap(), base.share().unwrap()];
        let other = File::open(&base.path).unwrap();
        assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err());
        drop(shared);
        let alone = base.hold().unwrap();
        assert!(flock(&other, FlockOperation::NonBlockingLockShared).is_err());
        drop(alone);
        flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
    }

    #[test]
    fn a_base_that_others_can_write_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("shimkeeper");
        std::fs::create_dir(&base).unwrap();
        std::fs::set_permissions(&base, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Base::at(&base, me()).is_err());
        std::fs::set_permissions(&base, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(Base::at(&base, me() + 1).is_err(), "somebody else's");
        let link = dir.path().join("link");
        symlink(&base, &link).unwrap();
        assert!(Base::at(&link, me()).is_err());
    }
}
