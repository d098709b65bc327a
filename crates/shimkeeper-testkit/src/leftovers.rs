// SPDX-License-Identifier: Apache-2.0
//! What a manager left behind in a test's directories and around them, so that a test can say "nothing".

mod mounts;
mod walk;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::TestDirs;
use crate::procs::{self, Seen};

pub(crate) use mounts::unmount_below;
pub(crate) use walk::{cgroups_below, remove_cgroups};

/// The directory below `state` and `root` that holds namespaces of bundles.
const TASKS: &str = "io.containerd.runtime.v2.task";
/// The same for those of sandboxes.
const SANDBOXES: &str = "io.containerd.sandbox.controller.v1.shim";
/// The directory below `state` that OCI runtimes keep their containers in, by namespace.
const RUNTIME: &str = "runc";
/// The variable that marks every process of a launch.
const MARK: &str = "SHIMKEEPER_LAUNCH";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Processes.
    pub processes: Vec<FoundProcess>,
    /// Bundles.
    pub bundles: Vec<PathBuf>,
    /// Work directories.
    pub work_dirs: Vec<PathBuf>,
    /// Half-deleted bundles and work directories: their names begin with a dot.
    pub hidden: Vec<PathBuf>,
    /// Sockets.
    pub sockets: Vec<PathBuf>,
    /// FIFOs.
    pub fifos: Vec<PathBuf>,
    /// Mount points.
    pub mounts: Vec<PathBuf>,
    /// Control groups of containers.
    pub cgroups: Vec<PathBuf>,
    /// What an OCI runtime keeps of containers it knows.
    pub containers: Vec<PathBuf>,
}

/// A process that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundProcess {
    /// Its pid.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

impl Leftovers {
    /// Looks for everything but processes. What cannot be read is not there: directories vanish while a manager works.
    pub(crate) fn on_disk(dirs: &TestDirs) -> Self {
        let (state, root, sockets) = (dirs.state(), dirs.root(), dirs.sockets());
        let in_both_trees = |dir: &Path| {
            let (mut found, mut hidden) = walk::grandchildren(&dir.join(TASKS));
            let (sandboxes, hidden_sandboxes) = walk::grandchildren(&dir.join(SANDBOXES));
            found.extend(sandboxes);
            hidden.extend(hidden_sandboxes);
            (found, hidden)
        };
        let (bundles, hidden_bundles) = in_both_trees(&state);
        let (work_dirs, hidden_work_dirs) = in_both_trees(&root);
        let (containers, _) = walk::grandchildren(&state.join(RUNTIME));
        let mut special = walk::Special::default();
        for dir in [&state, &root, &sockets] {
            special.collect(dir);
        }
        Self {
            processes: Vec::new(),
            bundles,
            work_dirs,
            hidden: [hidden_bundles, hidden_work_dirs].concat(),
            sockets: special.sockets,
            fifos: special.fifos,
            mounts: [state, root].iter().flat_map(|dir| mounts::below(dir)).collect(),
            cgroups: walk::cgroups_below(&dirs.cgroup()),
            containers,
        }
    }

    /// Adds the processes of launches with these marks.
    pub(crate) fn add_marked(&mut self, marks: &[&str]) {
        if marks.is_empty() {
            return;
        }
        let is_marked = |seen: &Seen| {
            let mut found =
                seen.environ.iter().filter_map(|entry| entry.strip_prefix(MARK)?.strip_prefix('='));
            found.any(|mark| marks.contains(&mark))
        };
        self.processes.extend(procs::find(is_marked).iter().map(FoundProcess::from));
        self.processes.sort();
        self.processes.dedup();
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Keeps only what outlives the removal of its directory.
    pub(crate) fn forget_files(&mut self) {
        let (processes, mounts, cgroups) = (
            std::mem::take(&mut self.processes),
            std::mem::take(&mut self.mounts),
            std::mem::take(&mut self.cgroups),
        );
        *self = Self { processes, mounts, cgroups, ..Self::default() };
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for process in &self.processes {
            writeln!(f, "process {} {}", process.pid, process.command)?;
        }
        let paths = [
            ("bundle", &self.bundles),
            ("work directory", &self.work_dirs),
            ("half-deleted", &self.hidden),
            ("socket", &self.sockets),
            ("FIFO", &self.fifos),
            ("mount", &self.mounts),
            ("cgroup", &self.cgroups),
            ("container", &self.containers),
        ];
        for (what, paths) in paths {
            for path in paths {
                writeln!(f, "{what} {}", path.display())?;
            }
        }
        Ok(())
    }
}

impl From<&Seen> for FoundProcess {
    fn from(seen: &Seen) -> Self {
        Self { pid: seen.pid, command: seen.args.join(" ") }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn finds_what_is_there_and_says_so() {
        let dirs = TestDirs::new();
        assert!(dirs.leftovers().is_empty(), "empty directories hold nothing");

        let (bundles, work) = (dirs.state().join(TASKS).join("ns"), dirs.root().join(TASKS).join("ns"));
        let container = dirs.state().join(RUNTIME).join("ns/one");
        for dir in [&bundles.join("one"), &bundles.join(".two"), &work.join("one"), &container] {
            fs::create_dir_all(dir).unwrap();
        }
        let _listener = UnixListener::bind(dirs.socket("sock")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            bundles.join("one/log"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();

        let left = dirs.leftovers();
        assert_eq!(left.bundles, [bundles.join("one")]);
        assert_eq!(left.work_dirs, [work.join("one")]);
        assert_eq!(left.hidden, [bundles.join(".two")]);
        assert_eq!(left.sockets, [dirs.socket("sock")]);
        assert_eq!(left.fifos, [bundles.join("one/log")]);
        assert_eq!(left.containers, [container]);
        assert_eq!(left.to_string().lines().count(), 6);
    }

    #[test]
    fn finds_processes_by_their_mark() {
        let marked = || {
            let mut left = Leftovers::default();
            left.add_marked(&["00000000feedface"]);
            left
        };
        let mut sleeper =
            std::process::Command::new("sleep").arg("600").env(MARK, "00000000feedface").spawn().unwrap();
        // Between its old program and its new one a process shows no environment, and spawn may return then.
        let environ = format!("/proc/{}/environ", sleeper.id());
        while fs::read(&environ).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let left = marked();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(left.processes, [FoundProcess { pid: sleeper.id(), command: "sleep 600".into() }]);
        assert!(marked().is_empty());
    }
}
