// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper rm`: a container's task and its record. What runs, or may run, is removed by force only.

use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::containers::v1::DeleteContainerRequest;
use shimkeeper_proto::containerd::services::tasks::v1::DeleteTaskRequest;
use shimkeeper_proto::containerd::v1::types::Status;

use super::args::RmArgs;
use super::each::each;
use super::server::{Server, ask, unless};
use super::{find, stop};
use crate::failure::Failure;

pub(super) async fn rm(args: &RmArgs) -> Result<u8, Failure> {
    let force = args.force;
    each(&args.targets, "shimkeeper.rm/1", async move |server, id| remove(server, id, force).await).await
}

async fn remove(server: &Server, id: &str, force: bool) -> Result<(), Failure> {
    if let Some(task) = find::task(server, id).await? {
        match task.status() {
            Status::Stopped => {}
            _ if force => stop::kill(server, id).await?,
            status => {
                let what = format!("remove {id}: it is {}", status.as_str_name().to_ascii_lowercase());
                let hint = "stop it first, or kill and remove it with --force";
                return Err(Failure::new(Kind::FailedPrecondition, what, hint));
            }
        }
        let request = DeleteTaskRequest { container_id: id.to_owned() };
        let deleted = ask(&format!("delete the task of {id}"), server.tasks().delete(request)).await;
        // Somebody else may be removing it as well.
        unless(Kind::NotFound, deleted)?;
    }
    let request = DeleteContainerRequest { id: id.to_owned() };
    let deleted = ask(&format!("delete the record of {id}"), server.containers().delete(request)).await;
    // A task may have been there without a record.
    unless(Kind::NotFound, deleted).map(|_| ())
}
