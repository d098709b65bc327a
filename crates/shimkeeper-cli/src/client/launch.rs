// SPDX-License-Identifier: Apache-2.0
//! From a container's record to a task that runs, in calls to a daemon; what fails in between is undone.

use std::path::Path;

use serde_json::Value;
use shimkeeper::oci::{CommandLookup, find_command};
use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::tasks::v1::{CreateTaskRequest, DeleteTaskRequest, StartRequest};
use shimkeeper_proto::google::protobuf::Any;

use super::fifos::Io;
use super::logs::log::Log;
use super::server::{Server, ask, unless};
use crate::failure::Failure;
use crate::foreground::exit_code::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND};

/// How clients of containerd name a specification.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

pub(super) fn spec(json: Vec<u8>) -> Any {
    Any { type_url: SPEC.to_owned(), value: json.into() }
}

pub(super) fn process(json: Vec<u8>) -> Any {
    Any { type_url: PROCESS.to_owned(), value: json.into() }
}

/// What a shim is told of output that goes to this log; nothing of one that is empty.
pub(super) fn output(log: &str, terminal: bool) -> Result<Io, Failure> {
    let mut io = Io { stdout: log.to_owned(), terminal, ..Io::default() };
    let file = log.starts_with("file://").then(|| Log::at(log)).flatten();
    let Some(Log::File(path)) = file else {
        if !terminal {
            log.clone_into(&mut io.stderr);
        }
        return Ok(io);
    };
    if terminal {
        let what = "a terminal's output cannot be written to a file by shims";
        return Err(Failure::new(Kind::InvalidArgument, what, "use --log-driver keep, or leave out -t"));
    }
    let opened = std::fs::File::options().append(true).create(true).open(&path);
    opened.map_err(|error| {
        let what = format!("open the log {}", path.display());
        Failure::io(what, &error, "see that its directory is there")
    })?;
    // Of a URI, or of a path twice, shims make one descriptor, and close it when the first output ends, with the rest of
    // the second. So it is a path, spelled in two ways.
    let path = path.display().to_string();
    io.stderr = format!("/.{path}");
    io.stdout = path;
    Ok(io)
}

/// Makes the task of a record, whose program does not run yet.
pub(super) async fn create(server: &Server, id: &str, io: &Io, spec: &[u8]) -> Result<(), Failure> {
    let Io { stdin, stdout, stderr, terminal } = io.clone();
    let request = CreateTaskRequest {
        container_id: id.to_owned(),
        stdin,
        stdout,
        stderr,
        terminal,
        ..Default::default()
    };
    let created = ask(&format!("create the task of {id}"), server.tasks().create(request)).await;
    created.map(|_| ()).map_err(|failure| explained(failure, spec, None))
}

/// Runs its program; its process id. A task that does not start is deleted.
pub(super) async fn start(server: &Server, id: &str, spec: &[u8]) -> Result<u32, Failure> {
    let request = StartRequest { container_id: id.to_owned(), exec_id: String::new() };
    match ask(&format!("start {id}"), server.tasks().start(request)).await {
        Ok(started) => Ok(started.pid),
        Err(failure) => {
            // Why it did not start matters more.
            let _ = delete(server, id).await;
            Err(explained(failure, spec, None))
        }
    }
}

/// Deletes the task; it is no failure if it is gone already.
pub(super) async fn delete(server: &Server, id: &str) -> Result<(), Failure> {
    let request = DeleteTaskRequest { container_id: id.to_owned() };
    let deleted = ask(&format!("delete the task of {id}"), server.tasks().delete(request)).await;
    unless(Kind::NotFound, deleted).map(|_| ())
}

/// A command that is missing has exit codes of its own. Daemons say only in prose that it was the command; so the root
/// file system is asked as well. `process` is another one than the specification's.
pub(super) fn explained(failure: Failure, spec: &[u8], process: Option<&Value>) -> Failure {
    let Ok(spec) = serde_json::from_slice::<Value>(spec) else { return failure };
    let process = process.unwrap_or(&spec["process"]);
    let (Some(rootfs), Some(command)) = (spec["root"]["path"].as_str(), process["args"][0].as_str()) else {
        return failure;
    };
    if command.is_empty() || !failure.what.contains(command) {
        return failure;
    }
    let env = process["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    let path =
        env.iter().rev().find_map(|variable| variable.as_str()?.strip_prefix("PATH=")).unwrap_or_default();
    let cwd = Path::new(process["cwd"].as_str().unwrap_or("/"));
    let (exit_code, hint) = match find_command(Path::new(rootfs), path, cwd, command) {
        Ok(CommandLookup::Missing) => {
            (EXIT_NOT_FOUND, "check the command's name, and that it is in the root file system")
        }
        Ok(CommandLookup::NotExecutable(_)) => {
            (EXIT_NOT_EXECUTABLE, "check that the command is a file with execute permission")
        }
        Ok(CommandLookup::Found(_)) | Err(_) => return failure,
    };
    Failure { exit_code, hint: Some(hint.to_owned()), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn both_outputs_go_to_a_log() {
        let told = |log: &str, terminal| output(log, terminal).map(|io| [io.stdout, io.stderr]);
        assert_eq!(told("", false).unwrap(), ["", ""]);
        assert_eq!(told("binary:///x", false).unwrap(), ["binary:///x", "binary:///x"]);
        assert_eq!(told("binary:///x", true).unwrap(), ["binary:///x", ""]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a log").display().to_string();
        let uri = format!("file://{}", path.replace(' ', "%20"));
        assert_eq!(told(&uri, false).unwrap(), [path.clone(), format!("/.{path}")]);
        assert!(Path::new(&path).exists());
        assert!(told(&uri, true).is_err() && told("file:///nope/nope", false).is_err());
    }

    #[test]
    fn a_missing_command_is_told_apart_from_one_that_cannot_be_executed() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::create_dir(rootfs.path().join("bin")).unwrap();
        let plain = rootfs.path().join("bin/plain");
        std::fs::write(&plain, "").unwrap();
        std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
        let code = |command: &str, said: &str| {
            let spec = json!({"root": {"path": rootfs.path()},
                "process": {"args": [command], "env": ["PATH=/bin"], "cwd": "/"}});
            let failure = Failure::new(Kind::Unknown, said, "");
            explained(failure, &serde_json::to_vec(&spec).unwrap(), None).exit_code
        };
        assert_eq!(code("nope", "runc: exec: \"nope\": not found in $PATH"), 127);
        assert_eq!(code("/bin/plain", "exec: \"/bin/plain\": permission denied"), 126);
        assert_eq!(code("nope", "no space left on device"), 125, "it was something else");
        assert_eq!(explained(Failure::new(Kind::Unknown, "x", ""), b"not json", None).exit_code, 125);
    }
}
