// SPDX-License-Identifier: Apache-2.0
//! What is asked of many tasks at once. All shims are asked at the same time, each for at most two seconds, and one that
//! does not answer costs the others nothing but that: it is left out.

use std::time::{Duration, SystemTime};

use shimkeeper::events::Adaptor;
use shimkeeper::{Error, Manager, Namespace, Task, TaskKey, TaskPid};
use shimkeeper_proto::containerd::runc::v1::ProcessDetails;
use shimkeeper_proto::containerd::types::Metric;
use shimkeeper_proto::containerd::v1::types as wire;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::process;
use crate::convert;

/// How long one shim may take, and how long adoption is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A task as filters see it.
pub(super) struct Named<'a>(pub(super) &'a TaskKey);

impl Adaptor for Named<'_> {
    fn field(&self, path: &[String]) -> Option<&str> {
        match path {
            [field] if field == "id" => Some(self.0.id.as_str()),
            [field] if field == "namespace" => Some(self.0.namespace.as_str()),
            _ => None,
        }
    }
}

/// The tasks of a namespace, in the order of their ids. After a start there may be some whose adoption takes longer;
/// a list without them is better than none.
pub(super) async fn of_namespace(manager: &Manager, namespace: &Namespace) -> Vec<Task> {
    let mut tasks = manager.survey(PATIENCE).await.tasks;
    tasks.retain(|task| task.key().namespace == *namespace);
    tasks
}

/// The state of each.
pub(super) async fn states(tasks: Vec<Task>) -> Vec<wire::Process> {
    each(tasks, |task| async move {
        let state = task.known_state().await?;
        Ok(process::message(task.key().id.to_string(), state))
    })
    .await
}

/// What each uses.
pub(super) async fn metrics(tasks: Vec<Task>) -> Vec<Metric> {
    each(tasks, |task| async move {
        let stats = task.raw_stats().await?;
        Ok(Metric {
            timestamp: Some(convert::timestamp(SystemTime::now())),
            id: task.key().id.to_string(),
            data: Some(convert::any(stats)),
        })
    })
    .await
}

/// The answers of those that have one in time, in the order of the tasks. When the client leaves, the asking ends.
async fn each<T, F>(tasks: Vec<Task>, ask: impl Fn(Task) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut asking = JoinSet::new();
    for (place, task) in tasks.into_iter().enumerate() {
        let asked = ask(task.clone());
        asking.spawn(async move { (place, answered(&task, asked).await) });
    }
    let mut answers = Vec::with_capacity(asking.len());
    while let Some(joined) = asking.join_next().await {
        if let Ok((place, Some(answer))) = joined {
            answers.push((place, answer));
        }
    }
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn answered<T>(task: &Task, asked: impl Future<Output = Result<T, Error>>) -> Option<T> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(namespace = %task.key().namespace, task = %task.key().id, %error, "left out");
            None
        }
        Err(_) => {
            tracing::warn!(
                namespace = %task.key().namespace, task = %task.key().id,
                "left out: its shim did not answer within {PATIENCE:?}"
            );
            None
        }
    }
}

/// A process in a container.
pub(super) fn pid(found: TaskPid) -> wire::ProcessInfo {
    let details = |exec_id| shimkeeper_proto::pack(&ProcessDetails { exec_id });
    wire::ProcessInfo { pid: found.pid, info: found.exec.map(details) }
}
