// SPDX-License-Identifier: Apache-2.0
//! Every call that can be made of a task at any time, by name.

use shimkeeper::{Checkpoint, Error, Resources, Task};
use shimkeeper_testkit::Method;

use crate::bench::exec_request;

/// One call of each kind.
pub(crate) async fn make_call(method: Method, task: &Task) -> Result<(), Error> {
    match method {
        Method::State => task.state().await.map(drop),
        Method::Start => task.start().await.map(drop),
        Method::Pids => task.pids().await.map(drop),
        Method::Pause => task.pause().await,
        Method::Resume => task.resume().await,
        // Of SIGKILL the kernel sees to it when the shim does not.
        Method::Kill => task.kill(15, false).await,
        Method::Exec => task.exec(exec_request("x", &["sleep"])).await.map(drop),
        Method::ResizePty => task.resize(80, 24).await,
        Method::CloseIo => task.close_stdin().await,
        Method::Update => task.update(&Resources::new()).await,
        Method::Stats => task.stats().await.map(drop),
        Method::Checkpoint => task.checkpoint(&Checkpoint::into_directory("/nowhere")).await,
        _ => unreachable!("{method} is not called by itself"),
    }
}

pub(crate) const CALLS: [Method; 12] = [
    Method::State,
    Method::Start,
    Method::Pids,
    Method::Pause,
    Method::Resume,
    Method::Kill,
    Method::Exec,
    Method::ResizePty,
    Method::CloseIo,
    Method::Update,
    Method::Stats,
    Method::Checkpoint,
];
