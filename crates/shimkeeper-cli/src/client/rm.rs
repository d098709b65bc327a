// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper rm`: a container's task, its record, and the output that is kept. What runs, or may run, is removed by force only.

use std::collections::BTreeSet;
use std::path::Path;

use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::containers::v1::{DeleteContainerRequest, GetContainerRequest};
use shimkeeper_proto::containerd::v1::types::{Process, Status};

use super::args::RmArgs;
use super::each::each;
use super::logs::log::Log;
use super::patience::Progress;
use super::server::{Server, ask, unless};
use super::{find, launch, stop};
use crate::failure::Failure;
use crate::kept;
use crate::private_dirs::Base;

pub(super) async fn rm(args: &RmArgs) -> Result<u8, Failure> {
    let force = args.force;
    each(&args.targets, "shimkeeper.rm/1", "removing", async move |server, id, progress| {
        remove(server, id, force, progress).await
    })
    .await
}

/// Removes its task, its record, and what this command has put beside them.
pub(super) async fn remove(
    server: &Server,
    id: &str,
    force: bool,
    progress: &Progress<'_>,
) -> Result<(), Failure> {
    let request = GetContainerRequest { id: id.to_owned() };
    let asked = ask(&format!("ask for the record of {id}"), server.containers().get(request)).await;
    let record = unless(Kind::NotFound, asked)?;
    let record = record.and_then(|answer| answer.container);
    let task = find::task_or_unknown(server, id).await?;
    let log = Log::of(record.as_ref(), task.as_ref());
    if let Some(task) = &task {
        match task.status() {
            Status::Stopped => {}
            _ if force => stop::kill(server, id, progress).await?,
            status => {
                let what = format!("remove {id}: it is {}", status.as_str_name().to_ascii_lowercase());
                let hint = "stop it first, or kill and remove it with --force";
                return Err(Failure::new(Kind::FailedPrecondition, what, hint));
            }
        }
        // Somebody else may be removing it as well.
        progress.step("waiting for its shim to delete it, and to end");
        launch::delete(server, id).await?;
    }
    let request = DeleteContainerRequest { id: id.to_owned() };
    let deleted = ask(&format!("delete the record of {id}"), server.containers().delete(request)).await;
    // A task may have been there without a record.
    unless(Kind::NotFound, deleted)?;
    clear_up(id, log, task.as_ref())
}

/// The kept output, and the FIFOs of a command that was killed.
fn clear_up(id: &str, log: Option<Log>, task: Option<&Process>) -> Result<(), Failure> {
    if let Some(Log::Kept(dir)) = log {
        let removed = kept::remove(&dir, id);
        if removed.as_ref().is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound) {
            removed.map_err(|error| {
                let what = format!("{id} is removed, but not its output in {}", dir.display());
                Failure::io(what, &error, "see what is there, and remove it by hand")
            })?;
        }
    }
    let paths = task.into_iter().flat_map(|task| [&task.stdin, &task.stdout, &task.stderr]);
    let dirs: BTreeSet<&Path> = paths.filter_map(|path| Path::new(path).parent()).collect();
    if dirs.is_empty() {
        return Ok(());
    }
    let base = Base::of_user()?;
    dirs.into_iter()
        .filter_map(|dir| base.io(dir))
        .filter(|dir| dir.path().exists())
        .try_for_each(|dir| dir.discard())
}
