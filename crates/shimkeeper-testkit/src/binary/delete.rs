// SPDX-License-Identifier: Apache-2.0
//! `delete`: what a manager runs when the server no longer answers. It kills the container and says how it ended;
//! like that of the runc shim it does not care for the server.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use prost::Message;
use shimkeeper_proto::containerd::task::v3::DeleteResponse;

use super::{Args, FAKE_INIT, Failed, idle, leave_child_on_pipes};
use crate::script::{DeleteAct, SCRIPT_ENV, Script};
use crate::{procs, stamp};

/// How often `delete` ran in this bundle.
const COUNT_FILE: &str = "fake-delete.count";

pub(super) fn run(args: &Args) -> Result<ExitCode, Failed> {
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(|e| format!("finding the bundle: {e}"))?,
    };
    let named = std::env::var_os(SCRIPT_ENV).map(PathBuf::from);
    let script = Script::find(&bundle, named.as_deref()).map_err(|e| e.to_string())?;
    match turn(&bundle, &script) {
        DeleteAct::Ok => reap(&bundle),
        DeleteAct::Exit(code) => Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)),
        DeleteAct::Hang => {
            idle(Duration::from_millis(script.lifetime_ms));
            Ok(ExitCode::FAILURE)
        }
        DeleteAct::Grandchild(ms) => {
            leave_child_on_pipes(ms)?;
            reap(&bundle)
        }
        DeleteAct::Garbage => print(&[0xff; 16]),
    }
}

/// What this run is to do.
fn turn(bundle: &Path, script: &Script) -> DeleteAct {
    let file = bundle.join(COUNT_FILE);
    let past: usize = fs::read_to_string(&file).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    // A bundle that is gone has no history.
    let _ = fs::write(&file, (past + 1).to_string());
    script.delete.get(past).or(script.delete.last()).cloned().unwrap_or(DeleteAct::Ok)
}

fn reap(bundle: &Path) -> Result<ExitCode, Failed> {
    const PATIENCE: Duration = Duration::from_secs(3);
    for process in procs::find(|seen| is_of(bundle, &seen.args)) {
        procs::kill(&process, PATIENCE).map_err(|e| format!("killing {}: {e}", process.pid))?;
    }
    let pid = fs::read_to_string(bundle.join("init.pid")).ok().and_then(|pid| pid.parse().ok());
    let answer = DeleteResponse {
        // The runc shim answers with -1 as an unsigned number if it does not know.
        pid: pid.unwrap_or(u32::MAX),
        exit_status: 137,
        exited_at: Some(stamp::of(Some(SystemTime::now()))),
    };
    print(&answer.encode_to_vec())
}

/// Whether these are the arguments of a process of the container in `bundle`: see `model::real`.
fn is_of(bundle: &Path, args: &[String]) -> bool {
    let [_, action, label, ..] = args else { return false };
    let of_bundle = |label: &str| Path::new(label) == bundle;
    action == FAKE_INIT
        && (of_bundle(label) || label.split_once('#').is_some_and(|(label, _)| of_bundle(label)))
}

fn print(bytes: &[u8]) -> Result<ExitCode, Failed> {
    let written = std::io::stdout().write_all(bytes);
    written.map(|()| ExitCode::SUCCESS).map_err(|e| format!("writing the answer: {e}"))
}
