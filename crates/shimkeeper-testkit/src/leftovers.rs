// SPDX-License-Identifier: Apache-2.0
//! The oracle of invariant I7: lists what a manager left behind, so that a test can say "nothing".

mod mounts;
mod walk;

use std::fmt;
use std::path::PathBuf;

use crate::procs::{self, Seen};

pub(crate) use mounts::unmount_below;

/// The directory below `state` and `root` that holds namespaces of bundles.
const TASKS: &str = "io.containerd.runtime.v2.task";
/// The variable that marks every process of a launch.
const MARK: &str = "SHIMKEEPER_LAUNCH";

/// Where to look. What is empty is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// A manager's transient directory.
    pub state: PathBuf,
    /// A manager's persistent directory.
    pub root: PathBuf,
    /// The directory of sockets.
    pub sockets: PathBuf,
    /// Launches whose processes are looked for, as `SHIMKEEPER_LAUNCH` spells them.
    pub marks: Vec<String>,
    /// A cgroup path without the mount point, for example `/shimkeeper-test-a`.
    pub cgroup: Option<String>,
}

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
    /// Control groups.
    pub cgroups: Vec<PathBuf>,
}

/// A process that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundProcess {
    /// Its pid.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

impl Scope {
    /// Looks. What cannot be read is not there: directories vanish while a manager works.
    pub fn leftovers(&self) -> Leftovers {
        let (bundles, hidden_bundles) = walk::entries(&self.state.join(TASKS));
        let (work_dirs, hidden_work_dirs) = walk::entries(&self.root.join(TASKS));
        let mut special = walk::Special::default();
        for dir in [&self.state, &self.root, &self.sockets] {
            special.collect(dir);
        }
        Leftovers {
            processes: procs::find(|seen| self.is_marked(seen)).iter().map(Into::into).collect(),
            bundles,
            work_dirs,
            hidden: [hidden_bundles, hidden_work_dirs].concat(),
            sockets: special.sockets,
            fifos: special.fifos,
            mounts: [&self.state, &self.root].into_iter().flat_map(|dir| mounts::below(dir)).collect(),
            cgroups: self.cgroup.as_deref().map(walk::cgroups).unwrap_or_default(),
        }
    }

    fn is_marked(&self, seen: &Seen) -> bool {
        let mut marks = seen.environ.iter().filter_map(|entry| entry.strip_prefix(MARK)?.strip_prefix('='));
        marks.any(|mark| self.marks.iter().any(|wanted| wanted == mark))
    }
}

impl Leftovers {
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
        let dir = tempfile::tempdir().unwrap();
        let scope = Scope {
            state: dir.path().join("state"),
            root: dir.path().join("root"),
            sockets: dir.path().join("s"),
            ..Scope::default()
        };
        assert!(scope.leftovers().is_empty(), "directories that do not exist hold nothing");

        let (bundles, work) = (scope.state.join(TASKS).join("ns"), scope.root.join(TASKS).join("ns"));
        fs::create_dir_all(bundles.join("one")).unwrap();
        fs::create_dir_all(bundles.join(".two")).unwrap();
        fs::create_dir_all(work.join("one")).unwrap();
        fs::create_dir_all(&scope.sockets).unwrap();
        let _listener = UnixListener::bind(scope.sockets.join("sock")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            bundles.join("one/log"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();

        let left = scope.leftovers();
        assert_eq!(left.bundles, [bundles.join("one")]);
        assert_eq!(left.work_dirs, [work.join("one")]);
        assert_eq!(left.hidden, [bundles.join(".two")]);
        assert_eq!(left.sockets, [scope.sockets.join("sock")]);
        assert_eq!(left.fifos, [bundles.join("one/log")]);
        assert_eq!(left.to_string().lines().count(), 5);
    }

    #[test]
    fn finds_processes_by_their_mark() {
        let mark = "00000000feedface";
        let scope = Scope { marks: vec![mark.into()], ..Scope::default() };
        let mut sleeper = std::process::Command::new("sleep").arg("600").env(MARK, mark).spawn().unwrap();
        // The environment shows once the new program runs; spawn returns after that.
        let left = scope.leftovers();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(left.processes, [FoundProcess { pid: sleeper.id(), command: "sleep 600".into() }]);
        assert!(scope.leftovers().is_empty());
    }
}
