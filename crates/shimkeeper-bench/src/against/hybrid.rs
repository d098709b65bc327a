// SPDX-License-Identifier: Apache-2.0
//! crun 1.8 refuses a machine that has control groups of both generations. It is measured in a mount namespace from
//! which the newer is gone; with it, everything that is measured beside it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::BenchError;

const HYBRID: &str = "/sys/fs/cgroup/unified";

const WITHOUT: &str = r#"umount "$0" && mount -t tmpfs tmpfs "$0" && exec "$@""#;

/// Removes what crun makes in the place of the newer generation: directories like those of a control group, full of
/// files.
pub(crate) fn tidy(cgroup: &str) {
    if !is_hybrid() {
        // It may have made none.
        let _ = std::fs::remove_dir_all(Path::new(HYBRID).join(cgroup.trim_start_matches('/')));
    }
}

fn is_hybrid() -> bool {
    Path::new(HYBRID).join("cgroup.procs").exists()
}

/// Becomes the same program in such a namespace, if the runtime is crun and the machine is of that kind.
pub(crate) fn leave_if_in_the_way(runtime_binary: &str) -> Result<(), BenchError> {
    let is_crun = Path::new(runtime_binary).file_name().is_some_and(|name| name == "crun");
    if !is_crun || !is_hybrid() {
        return Ok(());
    }
    let myself = std::env::current_exe().map_err(|e| BenchError::io("find this program", e))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITHOUT, HYBRID]).arg(myself).args(std::env::args_os().skip(1));
    Err(BenchError::io("enter a mount namespace", command.exec()))
}
