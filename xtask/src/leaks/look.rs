// SPDX-License-Identifier: Apache-2.0
//! One look at the machine: processes, mounts, sockets, cgroups, files. Reads only; what vanishes meanwhile is gone.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// In the environment of everything that Shimkeeper launches.
const MARK: &[u8] = b"SHIMKEEPER_LAUNCH=";
/// What our tests call their directories, containers and namespaces.
const OURS: &str = "shimkeeper";
/// The start of the names of our temporary files.
const TEMPORARY: &str = "shimkeeper-";
/// The kernel keeps fifteen bytes of a name.
const SHIM: &str = "containerd-shim";

/// Where shims and runtimes keep their files, and from which depth on they belong to one container. What is above
/// stays when the container goes: runc never removes the directory of a namespace.
const RUNTIME_DIRECTORIES: [(&str, usize); 4] = [
    ("/run/containerd/s", 1),
    ("/run/containerd/fifo", 1),
    ("/run/containerd/runc", 2),
    ("/run/shimkeeper", 1),
];
/// Deep enough for every directory of ours, not deep enough for a container's file system.
const DEEPEST: usize = 4;

/// Cgroups that come and go with the system's own work.
const FOREIGN_CGROUP_ENDINGS: [&str; 6] = [".slice", ".scope", ".service", ".mount", ".socket", ".swap"];
const FOREIGN_CGROUPS: [&str; 5] = ["docker", "kubepods", "lxc", "lxc.payload", "machine"];

/// One thing of ours that exists on the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trace {
    pub(super) kind: Kind,
    /// Unlike any other of its kind, also of one that existed earlier.
    pub(super) identity: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Launched by us, by the mark in its environment.
    Marked,
    /// Known by its name.
    Process,
    Mount,
    /// Sockets, pipes, directories of runtimes.
    RuntimeFile,
    Cgroup,
    TemporaryFile,
}

/// Everything of ours.
pub(crate) fn around() -> BTreeSet<Trace> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut traces: BTreeSet<Trace> = processes().filter_map(|process| process.trace()).collect();
    let mut add = |kind, identities: Vec<String>| {
        traces.extend(identities.into_iter().map(|identity| Trace { kind, identity }));
    };
    for directory in temporary_directories() {
        add(Kind::Mount, our_mounts(&mountinfo, &directory));
        add(Kind::TemporaryFile, temporary_files(&directory));
    }
    add(Kind::RuntimeFile, runtime_files());
    add(Kind::Cgroup, our_cgroups(&mountinfo));
    traces
}

/// How many processes of this name run.
pub(crate) fn count_running(name: &str) -> usize {
    processes().filter(|process| process.name == name).count()
}

#[derive(Debug)]
struct Process {
    pid: u32,
    name: String,
    start: String,
    directory: PathBuf,
}

fn processes() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, start) = name_and_start(&line)?;
        Some(Process { pid, name: name.to_owned(), start: start.to_owned(), directory: entry.path() })
    })
}

/// The name and the start time of a process that is not a zombie, from `proc_pid_stat(5)`.
fn name_and_start(line: &str) -> Option<(&str, &str)> {
    // The name may itself hold spaces and parentheses: it ends at the last one.
    let (head, rest) = line.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    // Dead, and waiting for a parent that is not us: nothing that we could end.
    if state == "Z" || state == "X" {
        return None;
    }
    // The 22nd field of the line; the third has just been taken.
    Some((name, fields.nth(18)?))
}

impl Process {
    fn trace(&self) -> Option<Trace> {
        let environment = fs::read(self.directory.join("environ")).unwrap_or_default();
        let kind = if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(MARK)) {
            Kind::Marked
        } else if self.name == SHIM || self.name == OURS {
            Kind::Process
        } else {
            return None;
        };
        let command = fs::read(self.directory.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // With the start time, because process numbers are used again.
        Some(Trace {
            kind,
            identity: format!("{} (started at {}) {}", self.pid, self.start, command.trim_end()),
        })
    }
}

/// Mount points below a directory of our tests or of a runtime.
fn our_mounts(mountinfo: &str, temporary: &Path) -> Vec<String> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let is_ours = |point: &&str| {
        let path = Path::new(point);
        point.contains(OURS)
            || path.starts_with("/run/containerd")
            || (path.starts_with(temporary) && path != temporary)
    };
    points.filter(is_ours).map(str::to_owned).collect()
}

fn runtime_files() -> Vec<String> {
    let mut found = Vec::new();
    for (directory, from) in RUNTIME_DIRECTORIES {
        walk(Path::new(directory), 1, &mut |path, depth| {
            if depth >= from {
                found.push(path.display().to_string());
            }
            depth < DEEPEST
        });
    }
    found
}

fn our_cgroups(mountinfo: &str) -> Vec<String> {
    let mut found = Vec::new();
    for mount in cgroup_mounts(mountinfo) {
        walk(&mount, 1, &mut |path, depth| {
            // In these trees everything that is not a directory is an interface of the kernel.
            if !path.is_dir() {
                return false;
            }
            let inside = path.strip_prefix(&mount).unwrap_or(path);
            if is_our_cgroup(inside) {
                found.push(path.display().to_string());
            }
            // Far deeper than any hierarchy is in practice.
            depth < 16
        });
    }
    found
}

fn cgroup_mounts(mountinfo: &str) -> Vec<PathBuf> {
    let is_cgroup = |line: &&str| line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("cgroup"));
    mountinfo.lines().filter(is_cgroup).filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Ours is what bears our name, and whatever appears at the top without being the system's: a runtime puts the
/// container of a namespace at `/<namespace>/<id>`.
fn is_our_cgroup(inside: &Path) -> bool {
    let text = inside.to_string_lossy();
    let top = text.split('/').next().unwrap_or_default();
    let foreign =
        FOREIGN_CGROUPS.contains(&top) || FOREIGN_CGROUP_ENDINGS.iter().any(|ending| top.ends_with(ending));
    text.contains(OURS) || !foreign
}

/// The user's, and `/tmp`, where what needs a short path goes in any case: a socket's has about a hundred bytes.
fn temporary_directories() -> BTreeSet<PathBuf> {
    BTreeSet::from([std::env::temp_dir(), PathBuf::from("/tmp")])
}

fn temporary_files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY));
    ours.map(|entry| entry.path().display().to_string()).collect()
}

/// Visits everything below `directory`; `visit` says whether to go on below. Links are not followed.
fn walk(directory: &Path, depth: usize, visit: &mut impl FnMut(&Path, usize) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if visit(&path, depth) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, depth + 1, visit);
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Marked => "a process that was launched",
            Kind::Process => "a process",
            Kind::Mount => "a mount",
            Kind::RuntimeFile => "a file of a runtime",
            Kind::Cgroup => "a cgroup",
            Kind::TemporaryFile => "a temporary file",
        };
        write!(formatter, "{kind}: {}", self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_read() {
        let fields = "S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(name_and_start(&format!("7 (a) b) {fields}")), Some(("a) b", "4711")));
        assert_eq!(name_and_start(&format!("7 (a) {}", fields.replace('S', "Z"))), None);
        assert_eq!(name_and_start("nonsense"), None);
    }

    #[test]
    fn this_process_is_seen_under_its_own_number() {
        assert!(processes().any(|process| process.pid == std::process::id()));
    }

    #[test]
    fn mounts_of_tests_and_runtimes_are_ours() {
        let mountinfo = "1 0 0:1 / / rw - ext4 a rw\n\
                         2 1 0:2 / /home/shimkeeper-x/rootfs rw - overlay o rw\n\
                         3 1 0:3 / /run/containerd/io/rootfs rw - tmpfs t rw\n\
                         4 1 0:4 / /tmp rw - tmpfs t rw\n\
                         5 1 0:5 / /tmp/x rw - tmpfs t rw\n\
                         6 1 0:6 / /media/usb rw - vfat v rw\n";
        let ours = our_mounts(mountinfo, Path::new("/tmp"));
        assert_eq!(ours, ["/home/shimkeeper-x/rootfs", "/run/containerd/io/rootfs", "/tmp/x"]);
    }

    #[test]
    fn cgroup_hierarchies_are_found() {
        let mountinfo = "1 0 0:1 / /sys/fs/cgroup rw - tmpfs t rw\n\
                         2 1 0:2 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                         3 1 0:3 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n";
        let expected = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        assert_eq!(cgroup_mounts(mountinfo), expected);
    }

    #[test]
    fn the_systems_own_cgroups_are_not_ours() {
        for path in ["system.slice/cron.service", "docker/0123", "user.slice"] {
            assert!(!is_our_cgroup(Path::new(path)), "{path}");
        }
        for path in ["default/demo", "system.slice/shimkeeper-x.scope"] {
            assert!(is_our_cgroup(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn temporary_files_are_known_by_their_prefix() {
        let directory = std::env::temp_dir().join(format!("xtask-look-{}", std::process::id()));
        fs::create_dir_all(directory.join("shimkeeper-a")).unwrap();
        fs::create_dir_all(directory.join("other")).unwrap();
        let found = temporary_files(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, [directory.join("shimkeeper-a").display().to_string()]);
    }
}
