// SPDX-License-Identifier: Apache-2.0
//! Looks for a command in a root filesystem, the way a runtime will.
//!
//! This explains a failure (exit code 126 or 127) and never forbids a start: a command may also come from a
//! mount, which only exists once the runtime has made it.

use std::path::{Path, PathBuf};

use crate::oci::rootfs::{Node, Rootfs, RootfsError};

/// What became of looking for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLookup {
    /// It is there and may be executed; its path in the container.
    Found(PathBuf),
    /// It is there, but is a directory, a device or has no execute permission; its path in the container.
    NotExecutable(PathBuf),
    /// It is not there.
    Missing,
}

/// Looks for `command` in the root filesystem at `rootfs`.
///
/// A name with a slash is a path, relative to `cwd` if it does not begin with one. Any other name is looked for
/// in the directories of `path_env`; what cannot be executed there is passed over, as runtimes do.
///
/// # Errors
/// When the root filesystem cannot be read.
pub fn find_command(
    rootfs: &Path,
    path_env: &str,
    cwd: &Path,
    command: &str,
) -> Result<CommandLookup, RootfsError> {
    let rootfs = Rootfs::open(rootfs)?;
    if command.contains('/') {
        let path = Path::new("/").join(cwd).join(command);
        return Ok(match rootfs.node(&path)? {
            Node::Missing => CommandLookup::Missing,
            Node::File { executable: true } => CommandLookup::Found(path),
            Node::File { executable: false } | Node::Directory | Node::Other => {
                CommandLookup::NotExecutable(path)
            }
        });
    }
    if command.is_empty() {
        return Ok(CommandLookup::Missing);
    }
    for dir in path_env.split(':') {
        // An empty element means the working directory.
        let path = Path::new("/").join(cwd).join(dir).join(command);
        if rootfs.node(&path)? == (Node::File { executable: true }) {
            return Ok(CommandLookup::Found(path));
        }
    }
    Ok(CommandLookup::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn rootfs() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        std::fs::create_dir_all(dir.path().join("opt/tools")).unwrap();
        for (name, mode) in [("bin/busybox", 0o755), ("bin/notes", 0o644), ("opt/tools/run", 0o111)] {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        symlink("/bin/busybox", dir.path().join("bin/sh")).unwrap();
        symlink("/usr/bin/env", dir.path().join("bin/outside")).unwrap();
        dir
    }

    fn find(command: &str) -> CommandLookup {
        find_command(rootfs().path(), "/usr/bin:/bin:/opt", Path::new("/opt"), command).unwrap()
    }

    #[test]
    fn names_are_looked_up_in_the_path() {
        assert_eq!(find("busybox"), CommandLookup::Found("/bin/busybox".into()));
        assert_eq!(find("sh"), CommandLookup::Found("/bin/sh".into()), "through an absolute link");
        assert_eq!(
            find("outside"),
            CommandLookup::Missing,
            "the host's /usr/bin/env is not in the container"
        );
        assert_eq!(find("nope"), CommandLookup::Missing);
        assert_eq!(find("notes"), CommandLookup::Missing, "passed over: it cannot be executed");
        assert_eq!(find("tools"), CommandLookup::Missing, "a directory is no command");
        assert_eq!(find(""), CommandLookup::Missing);
    }

    #[test]
    fn paths_are_taken_as_they_are() {
        assert_eq!(find("/bin/sh"), CommandLookup::Found("/bin/sh".into()));
        assert_eq!(find("tools/run"), CommandLookup::Found("/opt/tools/run".into()));
        assert_eq!(find("/bin/notes"), CommandLookup::NotExecutable("/bin/notes".into()));
        assert_eq!(find("/bin"), CommandLookup::NotExecutable("/bin".into()));
        assert_eq!(find("/bin/nope"), CommandLookup::Missing);
    }
}
