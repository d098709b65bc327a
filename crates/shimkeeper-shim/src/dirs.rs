// SPDX-License-Identifier: Apache-2.0
//! The two directories that everything is in, laid out as containerd lays them out.
//!
//! ```text
//! state/io.containerd.runtime.v2.task/<namespace>/<id>   bundles; gone after a reboot
//! root/io.containerd.runtime.v2.task/<namespace>/<id>    scratch space of shims; stays
//! …/io.containerd.sandbox.controller.v1.shim/<namespace>/<id>   the same, of sandboxes
//! ```
//! Names that begin with a dot are half-removed leftovers: no namespace and no id begins with one.

mod removal;

use std::os::fd::AsFd as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use shimkeeper_core::{HasKind, Kind, Namespace, TaskKey};

use crate::fs::{Dir, FsError};

pub use removal::RemoveDirsError;

/// The state and root directories.
#[derive(Clone, Debug)]
pub struct StateDirs {
    paths: Arc<Paths>,
}

/// Why a pair of directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirsError {
    /// What is in a relative path depends on who looks.
    #[error("{} is not an absolute path without '..'", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// One directory for both: a bundle and its scratch space would be one.
    #[error("state and root are the same directory, {}", path.display())]
    Same {
        /// The directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(FsError),
}

/// What a directory holds, and how much in it is nothing of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// What was found, sorted.
    pub found: Vec<T>,
    /// How many entries are no directories, or have names that no directory of ours has.
    pub skipped: usize,
}

#[derive(Debug)]
struct Paths {
    state: PathBuf,
    root: PathBuf,
    state_tasks: PathBuf,
    root_tasks: PathBuf,
    /// The directory of all bundles, once it was needed.
    held: OnceLock<Dir>,
}

/// The names of containerd's plugins whose layout this is.
const TASKS: &str = "io.containerd.runtime.v2.task";
const SANDBOXES: &str = "io.containerd.sandbox.controller.v1.shim";

/// The file systems that are in memory: tmpfs and ramfs.
const MEMORY: [rustix::fs::FsWord; 2] = [0x0102_1994, 0x8584_58f6];

/// User-namespaced containers must be able to pass through to their root file systems.
pub(crate) const TRAVERSABLE: u32 = 0o711;
const PRIVATE: u32 = 0o700;

// === impl StateDirs ===

impl StateDirs {
    /// Names the two directories; nothing is touched yet.
    ///
    /// # Errors
    /// [`DirsError`] unless both are absolute, without `..`, and different.
    pub fn new(state: impl Into<PathBuf>, root: impl Into<PathBuf>) -> Result<Self, DirsError> {
        let (state, root) = (plain(state.into())?, plain(root.into())?);
        if state == root {
            return Err(DirsError::Same { path: state });
        }
        Ok(Self::with_tree(state, root, TASKS))
    }

    fn with_tree(state: PathBuf, root: PathBuf, tree: &str) -> Self {
        let (state_tasks, root_tasks) = (state.join(tree), root.join(tree));
        Self { paths: Arc::new(Paths { state, root, state_tasks, root_tasks, held: OnceLock::new() }) }
    }

    /// The same directories, with the bundles of sandboxes in the place of those of tasks. A sandbox and a task may
    /// have the same id.
    pub fn sandboxes(&self) -> Self {
        Self::with_tree(self.paths.state.clone(), self.paths.root.clone(), SANDBOXES)
    }

    /// Makes the directories that are missing and sets the modes of those that are there.
    ///
    /// Blocking file operations.
    ///
    /// # Errors
    /// [`DirsError`], also if the two paths lead to one directory.
    pub fn prepare(&self) -> Result<(), DirsError> {
        let state = prepare(&self.paths.state, TRAVERSABLE)?;
        let root = prepare(&self.paths.root, PRIVATE)?;
        if identity(&state)? == identity(&root)? {
            return Err(DirsError::Same { path: self.paths.state.clone() });
        }
        for dir in [state, root] {
            for (tree, mode) in [(TASKS, TRAVERSABLE), (SANDBOXES, PRIVATE)] {
                dir.ensure_dir(tree, mode)?;
                set_mode(&dir.open_dir(tree)?, mode)?;
            }
        }
        Ok(())
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.paths.state
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.paths.root
    }

    /// Whether the bundles, those of sandboxes too, are in memory, where no operation on a file waits for a device.
    /// Where that cannot be found out, they are not.
    ///
    /// Blocking file operations.
    pub fn state_is_in_memory(&self) -> bool {
        [TASKS, SANDBOXES].iter().all(|tree| is_in_memory(&self.paths.state.join(tree)))
    }

    /// Where the bundle of this task is, or would be.
    pub fn bundle_dir(&self, key: &TaskKey) -> PathBuf {
        self.paths.state_tasks.join(relative(key))
    }

    /// Where the namespaces are that have bundles in them.
    pub(crate) fn bundles_dir(&self) -> &Path {
        &self.paths.state_tasks
    }

    /// Where the scratch space of this task's shim is, or would be.
    pub fn work_dir(&self, key: &TaskKey) -> PathBuf {
        self.paths.root_tasks.join(relative(key))
    }

    /// Every namespace that has, or had, a bundle.
    ///
    /// # Errors
    /// [`DirsError`] if the directory cannot be listed.
    pub fn namespaces(&self) -> Result<Listing<Namespace>, DirsError> {
        list(&self.state_tasks()?, |name| name.parse().ok())
    }

    /// Every bundle.
    ///
    /// # Errors
    /// [`DirsError`] if a directory cannot be listed.
    pub fn bundles(&self) -> Result<Listing<TaskKey>, DirsError> {
        keys(&self.state_tasks()?)
    }

    /// Every namespace that has, or had, a scratch directory.
    ///
    /// # Errors
    /// [`DirsError`] if the directory cannot be listed.
    pub fn work_namespaces(&self) -> Result<Listing<Namespace>, DirsError> {
        list(&self.root_tasks()?, |name| name.parse().ok())
    }

    /// Every scratch directory. After a reboot they are still there, while their bundles are not.
    ///
    /// # Errors
    /// [`DirsError`] if a directory cannot be listed.
    pub fn work_dirs(&self) -> Result<Listing<TaskKey>, DirsError> {
        keys(&self.root_tasks()?)
    }

    pub(crate) fn state_tasks(&self) -> Result<Dir, FsError> {
        Dir::open(&self.paths.state_tasks)
    }

    /// Does something in the directory of all bundles, which is held open from then on: a look at each part of its path
    /// takes as long as most of what is done there. It may have been moved away since, and another made in its place:
    /// what is not found there is looked for anew.
    pub(crate) fn in_state_tasks<T>(&self, work: impl Fn(&Dir) -> Result<T, FsError>) -> Result<T, FsError> {
        let Some(held) = self.paths.held.get() else {
            let opened = self.state_tasks()?;
            return work(self.paths.held.get_or_init(|| opened));
        };
        match work(held) {
            Err(error) if error.is(Errno::NOENT) => work(&self.state_tasks()?),
            done => done,
        }
    }

    pub(crate) fn root_tasks(&self) -> Result<Dir, FsError> {
        Dir::open(&self.paths.root_tasks)
    }
}

/// Whether a directory is in memory, where no operation on a file waits for a device. One that is missing is where it
/// would be made. Where that cannot be found out, it is not.
fn is_in_memory(path: &Path) -> bool {
    let found = path.ancestors().find_map(|path| match rustix::fs::statfs(path) {
        Err(Errno::NOENT) => None,
        found => Some(found),
    });
    matches!(found, Some(Ok(found)) if MEMORY.contains(&found.f_type))
}

/// The path of a task below either tree.
pub(crate) fn relative(key: &TaskKey) -> PathBuf {
    Path::new(key.namespace.as_str()).join(key.id.as_str())
}

fn plain(path: PathBuf) -> Result<PathBuf, DirsError> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !climbs {
        Ok(path.components().collect())
    } else {
        Err(DirsError::NotAbsolute { path })
    }
}

fn prepare(path: &Path, mode: u32) -> Result<Dir, DirsError> {
    match std::fs::create_dir_all(path) {
        // Something else has the name; opening it says what is wrong.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.map_err(|source| DirsError::Fs(FsError::new("make the directory", path, source)))?,
    }
    // The operator may have made it a link; what it leads to is meant.
    let real = path.canonicalize().map_err(|source| DirsError::Fs(FsError::new("open", path, source)))?;
    let dir = Dir::open(&real)?;
    set_mode(&dir, mode)?;
    Ok(dir)
}

/// Not being the owner is fine: without privileges the directory was prepared by somebody who is.
fn set_mode(dir: &Dir, mode: u32) -> Result<(), DirsError> {
    match rustix::fs::fchmod(dir, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(DirsError::Fs(FsError::new("set the mode of", dir.path(), errno))),
    }
}

fn identity(dir: &Dir) -> Result<(u64, u64), DirsError> {
    let stat = rustix::fs::fstat(dir.as_fd())
        .map_err(|errno| DirsError::Fs(FsError::new("examine", dir.path(), errno)))?;
    Ok((stat.st_dev, stat.st_ino))
}

fn keys(tasks: &Dir) -> Result<Listing<TaskKey>, DirsError> {
    let namespaces: Listing<Namespace> = list(tasks, |name| name.parse().ok())?;
    let mut all = Listing { found: Vec::new(), skipped: namespaces.skipped };
    for namespace in namespaces.found {
        // One that cannot be read must not hide the others.
        let Ok(dir) = tasks.open_dir(namespace.as_str()) else {
            all.skipped += 1;
            continue;
        };
        let ids = list(&dir, |name| Some(TaskKey::new(namespace.clone(), name.parse().ok()?)))?;
        all.found.extend(ids.found);
        all.skipped += ids.skipped;
    }
    Ok(all)
}

fn list<T: Ord>(dir: &Dir, parse: impl Fn(&str) -> Option<T>) -> Result<Listing<T>, DirsError> {
    let mut listing = Listing { found: Vec::new(), skipped: 0 };
    for entry in dir.entries()? {
        let Some(name) = entry.name.to_str().filter(|name| !name.starts_with('.')) else {
            listing.skipped += usize::from(entry.name.to_str().is_none());
            continue;
        };
        let directory = matches!(entry.kind, FileType::Directory | FileType::Unknown);
        match parse(name).filter(|_| directory) {
            Some(found) => listing.found.push(found),
            None => listing.skipped += 1,
        }
    }
    listing.found.sort_unstable();
    Ok(listing)
}

// === impl DirsError ===

impl From<FsError> for DirsError {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

impl HasKind for DirsError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAbsolute { .. } | Self::Same { .. } => Kind::InvalidArgument,
            // The name is there, and not as a directory: no reason to think that the directory exists.
            Self::Fs(error) if error.kind() == Kind::AlreadyExists => Kind::FailedPrecondition,
            Self::Fs(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn both_must_be_absolute_and_different() {
        for (state, root) in [("a", "/b"), ("/a", "b"), ("/a", ""), ("/a/../b", "/c")] {
            assert!(
                matches!(StateDirs::new(state, root), Err(DirsError::NotAbsolute { .. })),
                "{state} {root}"
            );
        }
        for (state, root) in [("/a", "/a"), ("/a/", "/a"), ("/a/./b", "/a//b")] {
            assert!(matches!(StateDirs::new(state, root), Err(DirsError::Same { .. })), "{state} {root}");
        }
    }

    #[test]
    fn two_paths_to_one_directory_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        symlink(dir.path(), dir.path().join("link")).unwrap();
        let dirs = StateDirs::new(dir.path(), dir.path().join("link")).unwrap();
        assert!(matches!(dirs.prepare(), Err(DirsError::Same { .. })));
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for state in ["file", "file/below"] {
            let dirs = StateDirs::new(dir.path().join(state), dir.path().join("root")).unwrap();
            assert_eq!(dirs.prepare().unwrap_err().kind(), Kind::FailedPrecondition, "{state}");
        }
    }

    #[test]
    fn prepare_sets_the_modes_and_may_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = StateDirs::new(dir.path().join("run/state"), dir.path().join("lib/root")).unwrap();
        for _ in 0..2 {
            dirs.prepare().unwrap();
            assert_eq!((mode(dirs.state()), mode(dirs.root())), (0o711, 0o700));
            assert_eq!((mode(&dirs.state().join(TASKS)), mode(&dirs.root().join(TASKS))), (0o711, 0o711));
            assert_eq!(mode(&dirs.state().join(SANDBOXES)), 0o700);
            fs::set_permissions(dirs.root(), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn memory_is_told_from_a_disk() {
        let prepared = |dir: &Path| {
            let dirs = StateDirs::new(dir.join("s"), dir.join("r")).unwrap();
            dirs.prepare().unwrap();
            dirs
        };
        let disk = tempfile::tempdir_in("/var/tmp").unwrap();
        let is_disk = !MEMORY.contains(&rustix::fs::statfs(disk.path()).unwrap().f_type);
        assert_eq!(prepared(disk.path()).state_is_in_memory(), !is_disk);
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let dirs = prepared(memory.path());
        assert!(dirs.state_is_in_memory());
        assert!(is_in_memory(&memory.path().join("not/made/yet")));
        fs::remove_dir(dirs.state().join(SANDBOXES)).unwrap();
        symlink(disk.path(), dirs.state().join(SANDBOXES)).unwrap();
        assert_eq!(dirs.state_is_in_memory(), !is_disk, "every tree counts");
        fs::write(memory.path().join("file"), "").unwrap();
        assert!(!is_in_memory(&memory.path().join("file/below")), "what cannot be looked at counts as slow");
    }

    #[test]
    fn listings_find_ours_and_count_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = StateDirs::new(dir.path().join("s"), dir.path().join("r")).unwrap();
        dirs.prepare().unwrap();
        let tasks = dirs.state().join(TASKS);
        for path in ["b/two", "a/one", "a/.one-leftover", "a/not an id", "not a namespace", ".hidden"] {
            fs::create_dir_all(tasks.join(path)).unwrap();
        }
        fs::write(tasks.join("a/file"), "").unwrap();
        symlink("/", tasks.join("link")).unwrap();
        let key = |namespace: &str, id: &str| TaskKey::parse(namespace, id).unwrap();
        assert_eq!(
            dirs.bundles().unwrap(),
            Listing { found: vec![key("a", "one"), key("b", "two")], skipped: 4 }
        );
        assert_eq!(dirs.namespaces().unwrap().found.len(), 2);
        assert_eq!(dirs.work_dirs().unwrap(), Listing { found: Vec::new(), skipped: 0 });
        assert_eq!(dirs.bundle_dir(&key("a", "one")), tasks.join("a/one"));
    }
}
