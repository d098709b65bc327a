// SPDX-License-Identifier: Apache-2.0
//! Private directories of one test, with paths short enough for sockets, that notice at the end what was left.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::leftovers::{Leftovers, remove_cgroups, unmount_below};
use crate::procs::{self, Seen};
use crate::spec::TEST_CGROUP;

/// `state`, `root`, a socket directory and a place for anything else, below one temporary directory.
///
/// Dropping it kills every process and lazily unmounts every mount that belongs to it, removes it, and fails the test
/// if there was any process or mount. A test that leaves shims on purpose calls [`TestDirs::sweep`] first.
#[derive(Debug)]
pub struct TestDirs {
    dir: TempDir,
}

/// As long as the path of a socket may be, without its final zero.
const SUN_PATH_MAX: usize = 107;

impl TestDirs {
    /// New directories, in `/tmp` because the usual variable may name a deep one.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn new() -> Self {
        Self::below(Path::new("/tmp"))
    }

    /// New directories in a directory of a short name.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn below(parent: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir_in(parent);
        let dirs = Self { dir: dir.expect("a directory can be made where tests keep theirs") };
        for sub in [dirs.state(), dirs.root(), dirs.sockets()] {
            std::fs::create_dir(&sub).expect("a directory can be made in a new one");
        }
        dirs
    }

    /// The directory all others are in.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// For a manager's transient state.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// For a manager's persistent data.
    pub fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    /// For sockets.
    pub fn sockets(&self) -> PathBuf {
        self.path().join("s")
    }

    /// A path for a socket of this name.
    ///
    /// # Panics
    /// If it would be too long for one.
    pub fn socket(&self, name: &str) -> PathBuf {
        let path = self.sockets().join(name);
        assert!(path.as_os_str().len() <= SUN_PATH_MAX, "{} is too long for a socket", path.display());
        path
    }

    /// The control group that those of its containers are in.
    pub fn cgroup(&self) -> String {
        let name = self.path().file_name().unwrap_or_default().to_string_lossy();
        format!("{TEST_CGROUP}-{name}")
    }

    /// An empty bundle with this `config.json`, outside any manager's state.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn bundle(&self, id: &str, config: &[u8]) -> PathBuf {
        let bundle = self.path().join("b").join(id);
        std::fs::create_dir_all(&bundle).expect("a directory can be made in a new one");
        std::fs::write(bundle.join("config.json"), config).expect("a file can be made in a new directory");
        bundle
    }

    /// What is in them, or belongs to them, now.
    pub fn leftovers(&self) -> Leftovers {
        let mut left = Leftovers::on_disk(self);
        left.processes.extend(self.processes().iter().map(Into::into));
        left.processes.sort();
        left.processes.dedup();
        left
    }

    /// Waits until no process belongs to them any more.
    ///
    /// # Errors
    /// What is still there after `deadline`.
    ///
    /// # Cancel safety
    /// Nothing is changed by waiting.
    pub async fn idle(&self, deadline: Duration) -> Result<(), Leftovers> {
        let gone = async {
            while !self.processes().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(deadline, gone).await.map_err(|_| self.leftovers())
    }

    /// Ends every process that belongs to them, and waits for it.
    pub fn sweep(&self) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(5);
        // A process may start another while it is looked for.
        loop {
            let found = self.processes();
            if found.is_empty() {
                return Ok(());
            }
            for process in found {
                procs::kill(&process, PATIENCE)?;
            }
        }
    }

    /// Processes that run in the directory or have it in their arguments or environment. The directory is not
    /// older than the test and its name is random, so nothing else can.
    fn processes(&self) -> Vec<Seen> {
        let name = self.path().to_string_lossy().into_owned();
        procs::find(|seen| {
            let in_texts = |texts: &[String]| texts.iter().any(|text| text.contains(&name));
            let in_cwd = seen.cwd.as_ref().is_some_and(|cwd| cwd.starts_with(self.path()));
            in_cwd || in_texts(&seen.args) || in_texts(&seen.environ)
        })
    }
}

impl Default for TestDirs {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestDirs {
    fn drop(&mut self) {
        let mut left = self.leftovers();
        let swept = self.sweep();
        let unmounted = unmount_below(self.path());
        // Runtimes make it and leave it.
        remove_cgroups(&self.cgroup());
        // Files go with the directory; it is what does not that must not be left.
        left.forget_files();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "the test left behind:\n{left}");
            swept.expect("what was left can be killed");
            unmounted.expect("what was left can be unmounted");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeper_in(dirs: &TestDirs) -> std::process::Child {
        let mut sleep = Command::new("sleep");
        let child = sleep.arg("600").current_dir(dirs.path()).stdin(Stdio::null()).spawn().unwrap();
        // The kernel lets us go on a moment before the program has its arguments.
        while std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        child
    }

    #[test]
    fn paths_leave_room_for_sockets() {
        let dirs = TestDirs::new();
        assert!(dirs.socket("0123456789abcdef").as_os_str().len() < 60);
        assert!(dirs.leftovers().is_empty());
        let path = dirs.path().to_owned();
        drop(dirs);
        assert!(!path.exists());
    }

    #[test]
    fn a_sweep_ends_what_runs_there() {
        let dirs = TestDirs::new();
        let mut sleeper = sleeper_in(&dirs);
        assert_eq!(dirs.leftovers().processes.len(), 1);
        dirs.sweep().unwrap();
        assert!(!sleeper.wait().unwrap().success());
    }

    #[test]
    fn a_test_that_leaves_a_process_fails_and_the_process_ends() {
        let dirs = TestDirs::new();
        let mut sleeper = sleeper_in(&dirs);
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(dirs)));
        let text = *dropped.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("sleep 600"), "{text}");
        assert!(!sleeper.wait().unwrap().success());
    }
}
