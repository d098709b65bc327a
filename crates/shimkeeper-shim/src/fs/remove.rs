// SPDX-License-Identifier: Apache-2.0
//! Removal of a tree that somebody else filled. It follows no link, enters no mount, and needs few descriptors
//! however deep the tree is.
//!
//! The standard library's `remove_dir_all` follows no link either, but walks into what is mounted below: with a
//! bind mount left behind it empties the mount's source.

use std::ffi::OsStr;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::dir::Entry;
use super::{Dir, FsError};

/// How deep the walk goes before it moves what is deeper up to the top; each level holds one descriptor.
const MAX_DEPTH: usize = 48;

/// How often a directory is listed again because it was not empty after all its entries were removed.
const MAX_ROUNDS: usize = 8;

/// How often the top is listed again; besides new entries it gets what was moved up from below.
const MAX_TOP_ROUNDS: usize = 1 << 20;

struct Walk<'a> {
    top: &'a Dir,
    moved_up: u64,
}

/// Removes what is under the name, of whatever kind; nothing there is success.
///
/// # Errors
/// [`FsError`]; `EXDEV` or `EBUSY` if something is mounted in the tree. What was reached before is gone then.
pub(crate) fn remove_tree(parent: &Dir, name: &OsStr) -> Result<(), FsError> {
    let Some(stat) = parent.stat(name)? else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return absent_is_fine(parent.unlink(name));
    }
    let top = parent.open_dir_same_mount(name)?;
    Walk { top: &top, moved_up: 0 }.empty(&top, 0, MAX_TOP_ROUNDS)?;
    absent_is_fine(parent.remove_dir(name))
}

impl Walk<'_> {
    fn empty(&mut self, dir: &Dir, depth: usize, rounds: usize) -> Result<(), FsError> {
        for _ in 0..rounds {
            let entries = dir.entries()?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in &entries {
                self.remove(dir, entry, depth)?;
            }
        }
        Err(FsError::new("empty the directory, which keeps being filled,", dir.path(), Errno::NOTEMPTY))
    }

    fn remove(&mut self, dir: &Dir, entry: &Entry, depth: usize) -> Result<(), FsError> {
        let name = entry.name.as_os_str();
        if !is_directory(dir, entry)? {
            return absent_is_fine(dir.unlink(name));
        }
        if depth >= MAX_DEPTH {
            return self.move_up(dir, name);
        }
        let below = dir.open_dir_same_mount(name)?;
        self.empty(&below, depth + 1, MAX_ROUNDS)?;
        absent_is_fine(dir.remove_dir(name))
    }

    fn move_up(&mut self, dir: &Dir, name: &OsStr) -> Result<(), FsError> {
        loop {
            self.moved_up += 1;
            let target = format!(".deep-{}", self.moved_up);
            match rustix::fs::renameat(dir, name, self.top, &target) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // Taken by the tree's own content, which may be named anything.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(errno) => return Err(dir.error("move up", name, errno)),
            }
        }
    }
}

fn is_directory(dir: &Dir, entry: &Entry) -> Result<bool, FsError> {
    if entry.kind != FileType::Unknown {
        return Ok(entry.kind == FileType::Directory);
    }
    let stat = dir.stat(&entry.name)?;
    Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

fn absent_is_fine(result: Result<(), FsError>) -> Result<(), FsError> {
    match result {
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn remove(parent: &std::path::Path, name: &str) -> Result<(), FsError> {
        remove_tree(&Dir::open(parent).unwrap(), OsStr::new(name))
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("precious"), "x").unwrap();
        fs::create_dir_all(dir.path().join("tree/sub")).unwrap();
        symlink(&victim, dir.path().join("tree/sub/link")).unwrap();
        symlink(&victim, dir.path().join("link")).unwrap();
        remove(dir.path(), "tree").unwrap();
        remove(dir.path(), "link").unwrap();
        remove(dir.path(), "not there").unwrap();
        assert!(!dir.path().join("tree").exists() && !dir.path().join("link").exists());
        assert!(victim.join("precious").exists());
    }

    #[test]
    fn depth_costs_no_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = Dir::open(dir.path()).unwrap();
        at.make_dir("tree", 0o700).unwrap();
        at = at.open_dir("tree").unwrap();
        // A name the walk itself would choose, so it has to step aside.
        at.make_dir(".deep-1", 0o700).unwrap();
        at.open_dir(".deep-1").unwrap().make_dir("x", 0o700).unwrap();
        for _ in 0..10 * MAX_DEPTH {
            at.make_dir("d", 0o700).unwrap();
            at = at.open_dir("d").unwrap();
        }
        at.write_atomic("f", b"x", 0o600, crate::Durability::Process).unwrap();
        drop(at);
        remove(dir.path(), "tree").unwrap();
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
