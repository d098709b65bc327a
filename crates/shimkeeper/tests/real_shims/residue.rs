// SPDX-License-Identifier: Apache-2.0
//! What a case may leave on the machine: nothing. Looks for processes, bundles, mounts, FIFOs, sockets, cgroups and
//! the runtime's own state.

use std::fs;
use std::path::{Path, PathBuf};

use shimkeeper::{Incarnation, Task};
use shimkeeper_shim::{Address, BootstrapParams, Bundle, StateDirs};
use shimkeeper_testkit::{Leftovers, Scope, TEST_CGROUP, TestDirs};

/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// By what a task's remains are known.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) mark: Incarnation,
    /// A shim's socket is not below the manager's directories.
    pub(crate) socket: Option<PathBuf>,
}

impl Trace {
    /// Of a task that lives.
    pub(crate) fn of(task: &Task, dirs: &TestDirs) -> Self {
        let dirs = StateDirs::new(dirs.state(), dirs.root()).unwrap();
        let bundle = Bundle::open(&dirs, task.key()).unwrap();
        let socket = match BootstrapParams::read(&bundle).unwrap().address {
            Address::Unix(path) => Some(path),
            _ => None,
        };
        Self { mark: task.incarnation(), socket }
    }
}

/// The cgroup of a case.
pub(crate) fn cgroup(dirs: &TestDirs) -> String {
    format!("{TEST_CGROUP}-{}", dirs.path().file_name().unwrap().to_str().unwrap())
}

/// Takes away the cgroups and sockets of a case that failed, once its processes are gone.
pub(crate) fn sweep(dirs: &TestDirs, traces: &[Trace]) {
    for socket in traces.iter().filter_map(|trace| trace.socket.as_ref()) {
        let _ = fs::remove_file(socket);
    }
    for container in containers_of(&cgroup(dirs)) {
        let _ = fs::remove_dir(container);
    }
    containers_of(&cgroup(dirs));
}

/// Fails if there is anything.
pub(crate) fn assert_none(dirs: &TestDirs, traces: &[Trace]) {
    let scope = Scope {
        state: dirs.state(),
        root: dirs.root(),
        sockets: dirs.sockets(),
        marks: traces.iter().map(|trace| trace.mark.to_string()).collect(),
        cgroup: None,
    };
    let mut left = scope.leftovers();
    // The manager's own; the next one takes its place.
    left.sockets.retain(|socket| !socket.ends_with("shimkeeper.sock.ttrpc"));
    left.sockets.extend(traces.iter().filter_map(|trace| trace.socket.clone()).filter(|path| path.exists()));
    left.cgroups.extend(containers_of(&cgroup(dirs)));
    assert!(left.is_empty(), "left behind:\n{left}");
    // Whatever belongs to the directories in another way: a helper, a container's process.
    let Leftovers { processes, .. } = dirs.leftovers();
    assert!(processes.is_empty(), "left behind: {processes:?}");
    let containers = grandchildren(&dirs.state().join("runc"));
    assert!(containers.is_empty(), "the runtime still knows {containers:?}");
}

/// The cgroups below that of the case, in every hierarchy; empty ones above them are taken away.
fn containers_of(cgroup: &str) -> Vec<PathBuf> {
    let cgroup = cgroup.trim_start_matches('/');
    let mut hierarchies = children(Path::new(CGROUPS));
    hierarchies.push(CGROUPS.into());
    let mut found = Vec::new();
    for hierarchy in hierarchies {
        let place = hierarchy.join(cgroup);
        found.extend(children(&place));
        // The runtimes make it and leave it to us; it stays if it is in use.
        let _ = fs::remove_dir(place);
    }
    found
}

fn grandchildren(dir: &Path) -> Vec<PathBuf> {
    children(dir).iter().flat_map(|child| children(child)).collect()
}

/// The directories in a directory.
fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let entries = entries.filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}
