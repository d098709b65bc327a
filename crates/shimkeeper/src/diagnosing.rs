// SPDX-License-Identifier: Apache-2.0
//! Why a container did not start, where that is a matter of a file: shims answer "unknown" to everything the OCI
//! runtime refuses, and say which it was only in prose.
//!
//! So the root file system is asked as well; its word counts when the prose agrees that the command is the matter. It
//! explains a failure and never forbids a start: a command may also come from a mount.

use std::path::{Path, PathBuf};

use serde_json::Value;
use shimkeeper_core::{HasKind as _, Kind, ProcessKey};
use shimkeeper_shim::{Bundle, LaunchError};

use crate::diagnosis::Diagnosis;
use crate::env::Env;
use crate::error::{Cause, Error};
use crate::oci::{CommandLookup, find_command};
use crate::shim::Shim;

/// Less room than that, in bytes, is too little for what a shim and an OCI runtime write for one container.
const LITTLE_ROOM: u64 = 64 << 10;

/// What a shim that failed to launch says of the reason.
pub(crate) async fn of_launch(env: &Env, error: &Error) -> Option<Diagnosis> {
    let Cause::Launch(launch @ LaunchError::Exit { .. }) = error.cause() else { return None };
    let is_full = tells_of_a_full_disk(&launch.to_string()) || has_little_room(env).await;
    is_full.then_some(Diagnosis::DiskFull)
}

/// Runtimes do not always say that it was the disk: runc's "unable to store init state: %!w(<nil>)" is all there is.
async fn has_little_room(env: &Env) -> bool {
    let state = env.dirs.state().to_owned();
    // A file system without blocks has no use for room.
    let look = move || {
        rustix::fs::statvfs(&state).is_ok_and(|fs| fs.f_blocks > 0 && fs.f_bavail * fs.f_frsize < LITTLE_ROOM)
    };
    env.in_time(look).await.unwrap_or(false)
}

fn tells_of_a_full_disk(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["no space left on device", "disk quota exceeded"].iter().any(|phrase| text.contains(phrase))
}

/// Adds to the shim's answer what can be found out about it.
pub(crate) async fn explain(shim: &Shim, process: &ProcessKey, error: Error) -> Error {
    let Cause::Call(call) = error.cause() else { return error };
    let Some(text) = call.shim_message().map(str::to_owned) else { return error };
    let lookup = match process {
        // What an exec's command was is not kept.
        ProcessKey::Exec(_) => None,
        ProcessKey::Init => {
            let bundle = shim.bundle.clone();
            shim.env.in_time(move || Command::of(&bundle)?.find()).await.ok().flatten()
        }
    };
    let found = match diagnose(&text, lookup.as_ref()) {
        None if call.kind() == Kind::Unknown && has_little_room(&shim.env).await => Some(Diagnosis::DiskFull),
        found => found,
    };
    error.diagnosed(found)
}

fn diagnose(text: &str, lookup: Option<&CommandLookup>) -> Option<Diagnosis> {
    if tells_of_a_full_disk(text) {
        return Some(Diagnosis::DiskFull);
    }
    let text = text.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    let missing = says(&["no such file or directory", "not found in $path"]);
    let refused = says(&["permission denied", "is a directory", "not a directory", "exec format error"]);
    // Said when the runtime itself could not be executed, so that it left no word of its own.
    if says(&["unable to retrieve oci runtime error"]) {
        let not_executed = says(&["executable file not found", "fork/exec"]);
        return (missing && not_executed).then_some(Diagnosis::RuntimeMissing);
    }
    // `exec: "` and `exec /` are runc's words, `executable` is crun's.
    let about_the_command = match lookup {
        Some(CommandLookup::Missing) if missing => true,
        Some(CommandLookup::NotExecutable(_)) if refused => true,
        // A script whose interpreter is missing is all that can be wrong with it.
        Some(CommandLookup::Found(_)) => says(&["exec /"]),
        // It may come from a mount: only the prose can tell.
        _ => says(&["exec: \"", "exec /", "executable file", "open executable"]),
    };
    match (about_the_command, missing, refused) {
        (true, true, _) => Some(Diagnosis::CommandMissing),
        (true, false, true) => Some(Diagnosis::CommandNotExecutable),
        _ => None,
    }
}

/// What a bundle's spec says of its command.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    rootfs: PathBuf,
    cwd: PathBuf,
    path_env: String,
    name: String,
}

impl Command {
    fn of(bundle: &Bundle) -> Option<Self> {
        let spec: Value = serde_json::from_slice(&bundle.read_file("config.json").ok()??).ok()?;
        Self::read(&spec)
    }

    /// None for a root file system in the bundle: what the shim had mounted there is gone again by now.
    fn read(spec: &Value) -> Option<Self> {
        let rootfs = spec["root"]["path"].as_str().map(PathBuf::from).filter(|path| path.is_absolute())?;
        let process = &spec["process"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut variables = process["env"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let path_env = variables.find_map(|variable| variable.strip_prefix("PATH="));
        Some(Self {
            rootfs,
            cwd: word(&process["cwd"]).into(),
            path_env: path_env.unwrap_or_default().to_owned(),
            name: word(&process["args"][0]),
        })
    }

    fn find(&self) -> Option<CommandLookup> {
        find_command(&self.rootfs, &self.path_env, Path::new(&self.cwd), &self.name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RUNC_NOT_FOUND: &str = "OCI runtime create failed: runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown";
    const RUNC_NO_FILE: &str = "runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory";
    const RUNC_DENIED: &str =
        "runc create failed: unable to start container process: exec: \"/etc/passwd\": permission denied";
    const CRUN_NOT_FOUND: &str = "crun: executable file `nope` not found in $PATH: No such file or directory";
    const CRUN_DENIED: &str = "crun: open executable: Permission denied";
    const NO_SOURCE: &str = "error mounting \"/nowhere\" to rootfs at \"/x\": no such file or directory";
    const NO_RUNTIME: &str = "OCI runtime create failed: unable to retrieve OCI runtime error (open /b/log.json: no such file or directory): exec: \"no-such-runc\": executable file not found in $PATH";
    const NO_WORD: &str = "OCI runtime create failed: unable to retrieve OCI runtime error (open /b/log.json: no such file or directory): runc did not terminate successfully: exit status 1";
    const NO_INTERPRETER: &str =
        "runc create failed: unable to start container process: exec /script: no such file or directory";
    const NO_CGROUP: &str = "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/x: permission denied";

    use Diagnosis::{CommandMissing, CommandNotExecutable, RuntimeMissing};

    #[test]
    fn the_runtimes_words_are_understood() {
        for text in [RUNC_NOT_FOUND, RUNC_NO_FILE, CRUN_NOT_FOUND] {
            assert_eq!(diagnose(text, None), Some(CommandMissing), "{text}");
            assert_eq!(diagnose(text, Some(&CommandLookup::Missing)), Some(CommandMissing), "{text}");
        }
        for text in [RUNC_DENIED, CRUN_DENIED] {
            assert_eq!(diagnose(text, None), Some(CommandNotExecutable), "{text}");
            let lookup = CommandLookup::NotExecutable("/etc/passwd".into());
            assert_eq!(diagnose(text, Some(&lookup)), Some(CommandNotExecutable), "{text}");
        }
    }

    #[test]
    fn other_missing_files_are_not_the_commands_fault() {
        let found = CommandLookup::Found("/bin/sh".into());
        for text in [NO_SOURCE, NO_CGROUP, "connection refused"] {
            assert_eq!(diagnose(text, None), None, "{text}");
            assert_eq!(diagnose(text, Some(&found)), None, "{text}");
        }
        for lookup in [None, Some(&found), Some(&CommandLookup::Missing)] {
            assert_eq!(diagnose(NO_RUNTIME, lookup), Some(RuntimeMissing));
            assert_eq!(diagnose(NO_WORD, lookup), None);
        }
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let text = "OCI runtime create failed: open /run/x/state.json: no space left on device: unknown";
        for lookup in [None, Some(&CommandLookup::Missing)] {
            assert_eq!(diagnose(text, lookup), Some(Diagnosis::DiskFull));
        }
    }

    #[test]
    fn a_script_may_lack_its_interpreter() {
        let found = CommandLookup::Found("/script".into());
        assert_eq!(diagnose(NO_INTERPRETER, Some(&found)), Some(CommandMissing));
        assert_eq!(diagnose(RUNC_NOT_FOUND, Some(&found)), None, "it is there, so it is not what is missing");
    }

    #[test]
    fn an_unknown_runtimes_words_are_believed_when_the_root_filesystem_agrees() {
        let text = "vm agent: spawn: No such file or directory (os error 2)";
        assert_eq!(diagnose(text, Some(&CommandLookup::Missing)), Some(CommandMissing));
        assert_eq!(diagnose(text, Some(&CommandLookup::Found("/bin/sh".into()))), None);
    }

    #[test]
    fn the_command_is_read_from_the_spec() {
        let mut spec = json!({
            "root": {"path": "/r"},
            "process": {"args": ["sh"], "cwd": "/w", "env": ["A=1", "PATH=/bin", "PATH=/x"]},
        });
        let expected =
            Command { rootfs: "/r".into(), cwd: "/w".into(), path_env: "/bin".into(), name: "sh".into() };
        assert_eq!(Command::read(&spec), Some(expected));
        spec["root"]["path"] = json!("rootfs");
        assert_eq!(Command::read(&spec), None);
    }
}
