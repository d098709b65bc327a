// SPDX-License-Identifier: Apache-2.0
//! crun 1.8 refuses a machine that has control groups of both generations. It is measured in a mount namespace from
//! which the newer is gone; with it, everything that is measured beside it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::BenchError;

const HYBRID: &str = "/sys/fs/cgroup/unified";

const WITHOUT: &str = r#"umount "$0" && exec "$@""#;

/// Becomes the same program in such a namespace, if the runtime is crun and the machine is of that kind.
pub(crate) fn leave_if_in_the_way(runtime_binary: &str) -> Result<(), BenchError> {
    let is_crun = Path::new(runtime_binary).file_name().is_some_and(|name| name == "crun");
    // What is left where it was mounted is an empty directory.
    if !is_crun || !Path::new(HYBRID).join("cgroup.procs").exists() {
        return Ok(());
    }
    let myself = std::env::current_exe().map_err(|e| BenchError::io("find this program", e))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WITHOUT, HYBRID]).arg(myself).args(std::env::args_os().skip(1));
    Err(BenchError::io("enter a mount namespace", command.exec()))
}
