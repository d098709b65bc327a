// SPDX-License-Identifier: Apache-2.0
//! I7: what a manager may leave when it has no task any more, which is its own socket and nothing else.

use std::fs;
use std::path::PathBuf;

use crate::TestDirs;
use crate::leftovers::{Leftovers, cgroups_below, remove_cgroups};

/// By what a task's remains are known where they are not in a test's directories.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The mark of its launch, as `SHIMKEEPER_LAUNCH` spells it.
    pub mark: String,
    /// The socket of its shim.
    pub socket: Option<PathBuf>,
}

/// What is there beside the manager's own socket.
pub fn leftovers(dirs: &TestDirs) -> Leftovers {
    let mut left = dirs.leftovers();
    left.sockets.retain(|socket| !socket.ends_with("shimkeeper.sock.ttrpc"));
    left
}

/// Fails if anything is left, here or where `traces` lead.
///
/// # Panics
/// That is how it fails.
#[track_caller]
pub fn nothing_left(dirs: &TestDirs, traces: &[Trace]) {
    let mut left = leftovers(dirs);
    let marks: Vec<_> = traces.iter().map(|trace| trace.mark.as_str()).collect();
    left.add_marked(&marks);
    left.sockets.extend(traces.iter().filter_map(|trace| trace.socket.clone()).filter(|path| path.exists()));
    assert!(left.is_empty(), "left behind:\n{left}");
}

/// Takes away the sockets and cgroups of a test that failed, once its processes are gone.
pub fn sweep(dirs: &TestDirs, traces: &[Trace]) {
    for socket in traces.iter().filter_map(|trace| trace.socket.as_ref()) {
        let _ = fs::remove_file(socket);
    }
    for cgroup in cgroups_below(&dirs.cgroup()) {
        let _ = fs::remove_dir(cgroup);
    }
    remove_cgroups(&dirs.cgroup());
}
