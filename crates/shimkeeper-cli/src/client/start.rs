// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper start`: a task for a container that is there, with the output where it went before.

use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::containers::v1::{Container, GetContainerRequest};
use shimkeeper_proto::containerd::v1::types::{Process, Status};

use super::args::TargetArgs;
use super::each::each;
use super::fifos::Io;
use super::find;
use super::label::{INPUT_LABEL, LOG_LABEL};
use super::launch;
use super::server::{Server, ask};
use crate::failure::Failure;

pub(super) async fn start(args: &TargetArgs) -> Result<u8, Failure> {
    each(args, "shimkeeper.start/1", "starting", async |server, id, _| begin(server, id).await).await
}

async fn begin(server: &Server, id: &str) -> Result<(), Failure> {
    let task = find::task(server, id).await?;
    match task.as_ref().map(Process::status) {
        // It is what was asked for already.
        Some(Status::Running) => return Ok(()),
        Some(Status::Paused | Status::Pausing) => {
            let what = format!("start {id}: it is frozen");
            return Err(Failure::new(
                Kind::FailedPrecondition,
                what,
                "let it go on with `shimkeeper unpause`",
            ));
        }
        Some(Status::Unknown) => {
            let what = format!("start {id}: whether it runs is not known");
            return Err(Failure::new(
                Kind::FailedPrecondition,
                what,
                "`shimkeeper inspect` shows how its shim is doing",
            ));
        }
        Some(Status::Created | Status::Stopped) | None => {}
    }
    let request = GetContainerRequest { id: id.to_owned() };
    let record = ask(&format!("ask for the record of {id}"), server.containers().get(request)).await?;
    let record = record.container.unwrap_or_default();
    let spec = record.spec.as_ref().map(|spec| spec.value.to_vec()).unwrap_or_default();
    if task.is_none_or(|task| task.status() != Status::Created) {
        if !record.snapshot_key.is_empty() {
            let what = format!("start {id}: its root file system is a snapshot, made of an image");
            return Err(Failure::new(
                Kind::NotImplemented,
                what,
                "start it with the client that has made it",
            ));
        }
        launch::delete(server, id).await?;
        launch::create(server, id, &io(&record, &spec)?, &spec).await?;
    }
    launch::start(server, id, &spec).await.map(|_| ())
}

/// As it was when the container was made by `shimkeeper run -d`; nothing, of one that others have made.
fn io(record: &Container, spec: &[u8]) -> Result<Io, Failure> {
    let label = |name: &str| record.labels.get(name).cloned().unwrap_or_default();
    let spec: serde_json::Value = serde_json::from_slice(spec).unwrap_or_default();
    let terminal = spec["process"]["terminal"].as_bool().unwrap_or(false);
    Ok(Io { stdin: label(INPUT_LABEL), ..launch::output(&label(LOG_LABEL), terminal)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_what_they_were() {
        let labels = [(LOG_LABEL, "binary:///x"), (INPUT_LABEL, "/log/stdin")];
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let record = Container { labels, ..Container::default() };
        let terminal = io(&record, br#"{"process": {"terminal": true}}"#).unwrap();
        assert_eq!(
            (terminal.stdin.as_str(), terminal.stdout.as_str(), terminal.stderr.as_str()),
            ("/log/stdin", "binary:///x", "")
        );
        let piped = io(&record, b"{}").unwrap();
        assert_eq!(
            (piped.stdout.as_str(), piped.stderr.as_str(), piped.terminal),
            ("binary:///x", "binary:///x", false)
        );
        assert_eq!(io(&Container::default(), b"{}"), Ok(Io::default()));
    }
}
