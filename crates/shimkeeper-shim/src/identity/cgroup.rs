// SPDX-License-Identifier: Apache-2.0
//! The control groups of a container: which processes are in it, an end for all of them that needs no shim, and what
//! was killed for want of memory.
//!
//! Only a group of the container's own is ever used. One that a stranger is in, such as its shim or we ourselves, is
//! nobody's to kill.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustix::io::Errno;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{Pidfd, ProcessIdentity, read_virtual_text};

/// Where the kernel's groups are found: all at once (version 2), or by controller below it (version 1).
pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// Controllers of version 1 by which processes are listed, the best first. OCI runtimes join all of them.
const LISTING: [&str; 4] = ["freezer", "pids", "devices", "name=systemd"];

/// Whether it is version 2: looked at once.
static IS_UNIFIED: LazyLock<bool> = LazyLock::new(|| Path::new(ROOT).join("cgroup.controllers").exists());

/// Most groups below a container's that are looked into: a container can make them without end.
const MAX_GROUPS: usize = 4096;

/// The groups of one container. A clone shares what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Groups", into = "Groups")]
pub struct Cgroup(Arc<Places>);

/// As it is written down.
#[derive(Serialize, Deserialize)]
struct Groups {
    /// Where its processes are listed.
    dir: PathBuf,
    /// Where its memory is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<PathBuf>,
}

/// As it is kept, for every task: what the two have in common is there once.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    dir: Box<Path>,
    memory: Memory,
}

#[derive(Debug, PartialEq, Eq)]
enum Memory {
    Uncounted,
    /// The same group.
    Here,
    /// The group of the same name in the hierarchy of version 1 that counts memory.
    Alike,
    At(Box<Path>),
}

impl From<Groups> for Cgroup {
    fn from(Groups { dir, memory }: Groups) -> Self {
        let memory = match memory {
            None => Memory::Uncounted,
            Some(memory) if memory == dir => Memory::Here,
            Some(memory) if alike(&dir).as_ref() == Some(&memory) => Memory::Alike,
            Some(memory) => Memory::At(memory.into()),
        };
        Self(Arc::new(Places { dir: dir.into(), memory }))
    }
}

impl From<Cgroup> for Groups {
    fn from(cgroup: Cgroup) -> Self {
        Self { dir: cgroup.0.dir.to_path_buf(), memory: cgroup.0.memory().map(Cow::into_owned) }
    }
}

impl Places {
    /// Where its memory is counted.
    fn memory(&self) -> Option<Cow<'_, Path>> {
        match &self.memory {
            Memory::Uncounted => None,
            Memory::Here => Some(Cow::Borrowed(&self.dir)),
            Memory::Alike => alike(&self.dir).map(Cow::Owned),
            Memory::At(path) => Some(Cow::Borrowed(path)),
        }
    }
}

/// The group of the same name among those that count memory.
fn alike(dir: &Path) -> Option<PathBuf> {
    let mut name = dir.strip_prefix(ROOT).ok()?.components();
    name.next()?;
    Some(hierarchy("memory").join(name.as_path()))
}

impl Cgroup {
    /// The group that the process is in; `None` if it cannot be found, or is not the container's own: one of
    /// `strangers` is in it too.
    ///
    /// Blocking, as everything here: a few small files of the kernel's.
    pub fn of(process: &Pidfd, strangers: &[u32]) -> Option<Self> {
        let text = read_virtual_text(format!("/proc/{}/cgroup", process.identity().pid)).ok()?;
        // Not ended, so its pid was not another's by then.
        if !matches!(process.has_ended(), Ok(false)) {
            return None;
        }
        let found = Self::parse(&text, *IS_UNIFIED)?;
        found.is_private(strangers).then_some(found)
    }

    fn parse(text: &str, is_unified: bool) -> Option<Self> {
        let groups: Vec<_> = memberships(text).filter(|(_, path)| !path.is_empty()).collect();
        let dir_of = |controller: &str| {
            let has_it = |controllers: &str| controllers.split(',').any(|one| one == controller);
            let (_, path) = groups.iter().find(|(controllers, _)| has_it(controllers))?;
            Some(hierarchy(controller).join(path))
        };
        if is_unified {
            let (_, path) = groups.iter().find(|(controllers, _)| controllers.is_empty())?;
            let dir = Path::new(ROOT).join(path);
            return Some(Groups { memory: Some(dir.clone()), dir }.into());
        }
        Some(Groups { dir: LISTING.into_iter().find_map(dir_of)?, memory: dir_of("memory") }.into())
    }

    /// Whether it can be a container's own: below the kernel's groups, and none of `strangers` is in it. One that came
    /// from a file has to be asked this again.
    pub fn is_private(&self, strangers: &[u32]) -> bool {
        self.private_pids(strangers).is_some()
    }

    /// The processes in it, if it can be a container's own, which is asked as [`Cgroup::is_private`] does.
    pub fn private_pids(&self, strangers: &[u32]) -> Option<Vec<u32>> {
        let is_below = |dir: &Path| {
            dir.strip_prefix(ROOT)
                .is_ok_and(|path| path.components().all(|c| matches!(c, Component::Normal(_))))
        };
        if !is_below(&self.0.dir) || !self.0.memory().as_deref().is_none_or(is_below) {
            return None;
        }
        self.pids().ok().filter(|pids| !pids.iter().any(|pid| strangers.contains(pid)))
    }

    /// Its name, for people.
    pub fn path(&self) -> &Path {
        &self.0.dir
    }

    /// Whether this group and another one have processes in common: one is, or is in, the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.dir.starts_with(&other.0.dir) || other.0.dir.starts_with(&self.0.dir)
    }

    /// The processes in it, and in groups below it, that are alive. None, if there is no such group any more.
    ///
    /// # Errors
    /// If the kernel's list cannot be read; nothing is known then.
    pub fn processes(&self) -> io::Result<Vec<ProcessIdentity>> {
        let alive =
            |pid| ProcessIdentity::of(pid).ok().flatten().filter(|p| !matches!(p.is_alive(), Ok(false)));
        Ok(self.pids()?.into_iter().filter_map(alive).collect())
    }

    /// Whether the process is in it.
    pub fn contains(&self, process: &ProcessIdentity) -> bool {
        self.pids().is_ok_and(|pids| pids.contains(&process.pid)) && matches!(process.is_alive(), Ok(true))
    }

    /// Sends SIGKILL to every process in it, frozen ones included, and says how many there were. What is being forked
    /// meanwhile may escape: repeat it until it answers 0.
    ///
    /// # Errors
    /// If the processes cannot be listed.
    pub fn kill(&self) -> io::Result<usize> {
        let processes = self.processes()?;
        if processes.is_empty() {
            return Ok(0);
        }
        // Version 2 does it at once, and lets nobody escape.
        if fs::write(self.0.dir.join("cgroup.kill"), "1").is_err() {
            let held: Vec<_> = processes.iter().filter_map(|p| Pidfd::open(p).ok().flatten()).collect();
            // Listed again once they are held: whoever left the group, or has the pid of one who did, is not meant.
            let still = self.pids()?;
            for process in held.iter().filter(|held| still.contains(&held.identity().pid)) {
                // It may end by itself, which is what is wanted.
                let _ = process.signal(Signal::KILL);
            }
            self.thaw();
        }
        Ok(processes.len())
    }

    /// Lets a frozen group of version 1 go on, so that what was killed in it can die; in version 2 it dies frozen.
    pub fn thaw(&self) {
        let state = self.0.dir.join("freezer.state");
        if fs::read_to_string(&state).is_ok_and(|state| state.trim_end() != "THAWED") {
            // A group that is gone meanwhile needs it no more.
            let _ = fs::write(&state, "THAWED");
        }
    }

    /// How many of its processes the kernel has killed for want of memory; `None` if it does not say.
    pub fn oom_kills(&self) -> Option<u64> {
        let memory = self.0.memory()?;
        // Version 2 has one directory for all that is known of a group.
        let file = if *memory == *self.0.dir { "memory.events" } else { "memory.oom_control" };
        oom_kills(&read_virtual_text(memory.join(file)).ok()?)
    }

    fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        let mut groups = vec![self.0.dir.to_path_buf()];
        let mut seen = 0;
        while let Some(group) = groups.pop() {
            seen += 1;
            if seen > MAX_GROUPS {
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    "too many groups below a container's",
                ));
            }
            match read_virtual_text(group.join("cgroup.procs")) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                // A group that is gone has nobody in it, and none is below it.
                Err(error) if is_gone(&error) => continue,
                // EOPNOTSUPP: a threaded one, whose processes are listed above it.
                Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
            // Two links, its name and its own dot: then there is none below it.
            if fs::metadata(&group).is_ok_and(|group| group.nlink() == 2) {
                continue;
            }
            match fs::read_dir(&group) {
                Ok(entries) => groups.extend(
                    entries
                        .flatten()
                        .filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()))
                        .map(|e| e.path()),
                ),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pids)
    }
}

/// What `/proc/<pid>/cgroup` says, `N:CONTROLLERS:/PATH` on each line: which controllers, none in version 2, and the path
/// below their hierarchy.
pub(super) fn memberships(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((controllers, path.strip_prefix('/')?))
    })
}

/// Where the groups of these controllers of version 1 are.
pub(super) fn hierarchy(controllers: &str) -> PathBuf {
    Path::new(ROOT).join(controllers.trim_start_matches("name="))
}

/// ENODEV: removed between opening and reading.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

fn oom_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "9:name=systemd:/a/b\n8:pids:/a/b\n6:freezer:/a/b\n5:devices:/\n4:memory:/m\n2:cpu,cpuacct:/a\n0::/\n";

    fn dirs(text: &str, is_unified: bool) -> Option<(String, Option<String>)> {
        let found = Cgroup::parse(text, is_unified)?;
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        Some((text(&found.0.dir), found.0.memory().as_deref().map(text)))
    }

    #[test]
    fn each_layout_is_understood() {
        let under = |path: &str| format!("{ROOT}/{path}");
        assert_eq!(dirs(HYBRID, false), Some((under("freezer/a/b"), Some(under("memory/m")))));
        let alike = HYBRID.replace("memory:/m", "memory:/a/b");
        assert_eq!(dirs(&alike, false), Some((under("freezer/a/b"), Some(under("memory/a/b")))));
        let no_freezer = HYBRID.replace("freezer:/a/b", "freezer:/").replace("memory:/m", "memory:/");
        assert_eq!(dirs(&no_freezer, false), Some((under("pids/a/b"), None)));
        assert_eq!(dirs("1:name=systemd:/s:x\n", false), Some((under("systemd/s:x"), None)));
        assert_eq!(dirs("0::/a.slice/b\n", true), Some((under("a.slice/b"), Some(under("a.slice/b")))));
        for (text, is_unified) in
            [("0::/\n", true), ("0::/a\n", false), ("", true), ("x", false), ("1:pids:a", false)]
        {
            assert_eq!(dirs(text, is_unified), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_down_reads_back() {
        for memory in [None, Some("freezer/a"), Some("memory/a"), Some("memory/b"), Some("a")] {
            let path = |path: &str| Path::new(ROOT).join(path);
            let cgroup = Cgroup::from(Groups { dir: path("freezer/a"), memory: memory.map(path) });
            let text = serde_json::to_string(&cgroup).unwrap();
            assert_eq!(memory.is_some(), text.contains("memory"), "{text}");
            assert!(memory.is_none_or(|memory| text.contains(&format!("{ROOT}/{memory}"))), "{text}");
            assert_eq!(serde_json::from_str::<Cgroup>(&text).unwrap(), cgroup);
        }
    }

    #[test]
    fn what_leads_elsewhere_is_nobodys_own() {
        for dir in ["/etc", "/sys/fs/cgroup/../../etc", "relative", "/sys/fs/cgroup/pids/../../x"] {
            let cgroup = Cgroup::from(Groups { dir: dir.into(), memory: None });
            assert!(!cgroup.is_private(&[]), "{dir}");
        }
        let memory = Some(PathBuf::from("/etc"));
        let with_memory = Groups { dir: format!("{ROOT}/pids/shimkeeper-none").into(), memory };
        assert!(!Cgroup::from(with_memory).is_private(&[]));
    }

    #[test]
    fn our_own_group_is_not_a_containers() {
        let (me, _) = Pidfd::of(std::process::id()).unwrap().unwrap();
        assert_eq!(Cgroup::of(&me, &[std::process::id()]), None);
    }

    #[test]
    fn groups_are_related_by_whole_names() {
        let of = |dir: &str| Cgroup::from(Groups { dir: dir.into(), memory: None });
        assert!(of("/a/b").overlaps(&of("/a/b/c")) && of("/a/b/c").overlaps(&of("/a/b")));
        assert!(!of("/a/b").overlaps(&of("/a/bc")));
    }

    #[test]
    fn a_group_that_is_gone_is_empty() {
        let gone = Cgroup::from(Groups { dir: format!("{ROOT}/pids/shimkeeper-none").into(), memory: None });
        assert!(gone.processes().unwrap().is_empty());
        assert_eq!(gone.kill().unwrap(), 0);
        assert_eq!(gone.oom_kills(), None);
    }

    #[test]
    fn both_versions_count_what_was_killed() {
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 4\noom 2\noom_kill 3\noom_group_kill 0\n"), Some(3));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
