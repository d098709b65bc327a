// SPDX-License-Identifier: Apache-2.0
//! From a container's record and a request to a task to be made.

use shimkeeper::{CreateTask, Kind, Namespace, Stdio, StdioPaths};
use shimkeeper_proto::containerd::runc::v1::Options;
use shimkeeper_proto::containerd::services::tasks::v1::CreateTaskRequest;
use shimkeeper_store::Store;
use tonic::Status;

use crate::{caller, convert, status};

/// What the library is asked for. The spec and the options are those of the clients, byte for byte.
pub(super) async fn request(
    store: &Store,
    namespace: &Namespace,
    given: CreateTaskRequest,
) -> Result<CreateTask, Status> {
    let record =
        store.containers(namespace).get(&given.container_id).await.map_err(|e| status::of_store(&e))?;
    // Whatever has a record has an id that is one.
    let key =
        caller::key(namespace, &given.container_id).ok_or_else(|| status::no_task(&given.container_id))?;
    let options = given.options.filter(|any| !any.type_url.is_empty()).map(convert::from_any);
    let restored_from =
        options.as_ref().and_then(|options| criu_image_path(options).transpose()).transpose()?;
    if restored_from.is_none() && given.checkpoint.is_some() {
        return Err(status::of(
            Kind::NotImplemented,
            "shimkeeper has no content store to restore a checkpoint from: name a directory in the runtime's options",
        ));
    }
    let spec = record.spec.clone().unwrap_or_default().value;
    let runtime =
        if given.runtime_path.is_empty() { record.runtime.name.clone() } else { given.runtime_path };
    let mut task = CreateTask::new(key, spec)
        .runtime(runtime)
        .rootfs(given.rootfs.into_iter().map(convert::from_mount).collect())
        .stdio(Stdio::Paths(StdioPaths {
            stdin: given.stdin,
            stdout: given.stdout,
            stderr: given.stderr,
            terminal: given.terminal,
        }));
    // The shim is launched with the container's options, and makes the task with the request's.
    if let Some(of_container) = record.runtime.options.clone().filter(|any| !any.type_url.is_empty()) {
        task = task.launch_options(of_container.clone()).options(of_container);
    }
    if let Some(options) = options {
        task = task.options(options);
    }
    if !record.sandbox.is_empty() {
        task = in_sandbox(store, namespace, &record.sandbox, task)?;
    }
    if let Some(directory) = restored_from {
        task = task.restore_from(directory);
    }
    Ok(task)
}

/// In the sandbox of the container's record; alone if nobody knows that sandbox, as containerd has it.
fn in_sandbox(
    store: &Store,
    namespace: &Namespace,
    sandbox: &str,
    task: CreateTask,
) -> Result<CreateTask, Status> {
    if store.sandboxes(namespace).contains(sandbox) {
        return Ok(task.in_sandbox(sandbox.parse().map_err(|e| status::of_id(&e))?));
    }
    tracing::warn!(%namespace, sandbox, "the sandbox of a container has no record: its task gets a shim of its own");
    Ok(task)
}

/// Where runc's options say that the task is restored from. Those of other shims are none of our business.
fn criu_image_path(options: &shimkeeper::Any) -> Result<Option<String>, Status> {
    let wire = convert::any(options.clone());
    let Some(options) = shimkeeper_proto::unpack::<Options>(&wire) else { return Ok(None) };
    let options = options
        .map_err(|e| status::of(Kind::InvalidArgument, format!("the task's options cannot be read: {e}")))?;
    Ok(Some(options.criu_image_path).filter(|path| !path.is_empty()))
}
