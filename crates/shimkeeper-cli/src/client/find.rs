// SPDX-License-Identifier: Apache-2.0
//! Which containers there are, and which one is meant by the beginning of its id.

use std::collections::{BTreeMap, BTreeSet};

use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::containers::v1::{Container, ListContainersRequest};
use shimkeeper_proto::containerd::services::tasks::v1::{GetRequest, ListTasksRequest};
use shimkeeper_proto::containerd::v1::types::Process;

use super::server::{Server, ask, unless};
use crate::failure::Failure;

/// Ids that are told when several fit.
const TOLD: usize = 5;

/// The records and the tasks of a namespace, by id. One may be there without the other.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) records: BTreeMap<String, Container>,
    pub(super) tasks: BTreeMap<String, Process>,
}

impl Found {
    pub(super) async fn look(server: &Server) -> Result<Self, Failure> {
        let mut containers = server.containers();
        let listed = ask("list containers", containers.list(ListContainersRequest::default())).await?;
        let records = listed.containers.into_iter().map(|record| (record.id.clone(), record)).collect();
        let mut tasks = server.tasks();
        let listed = ask("list tasks", tasks.list(ListTasksRequest::default())).await?;
        let tasks = listed.tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        Ok(Self { records, tasks })
    }

    /// Every id, in order.
    pub(super) fn ids(&self) -> BTreeSet<&str> {
        self.records.keys().chain(self.tasks.keys()).map(String::as_str).collect()
    }

    /// The one whose id this is, or begins with this.
    pub(super) fn resolve<'a>(&'a self, word: &str) -> Result<&'a str, Failure> {
        resolve(&self.ids(), word)
    }
}

fn resolve<'a>(ids: &BTreeSet<&'a str>, word: &str) -> Result<&'a str, Failure> {
    if let Some(id) = ids.get(word) {
        return Ok(id);
    }
    // Everything begins with nothing.
    let fitting: Vec<&str> =
        ids.iter().copied().filter(|id| !word.is_empty() && id.starts_with(word)).collect();
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => {
            let hint = "`shimkeeper ps -a` shows what there is; others may be in another --namespace";
            Err(Failure::new(Kind::NotFound, format!("no container {word:?}"), hint))
        }
        several => {
            let more = if several.len() > TOLD { ", …" } else { "" };
            let some = several.iter().take(TOLD).copied().collect::<Vec<_>>().join(", ");
            let what = format!("{word:?} may be any of {}: {some}{more}", several.len());
            Err(Failure::new(Kind::InvalidArgument, what, "give more of the id"))
        }
    }
}

/// The task of a container; `None` if it has none. The list leaves out those whose shim does not answer.
pub(super) async fn task(server: &Server, id: &str) -> Result<Option<Process>, Failure> {
    let request = GetRequest { container_id: id.to_owned(), exec_id: String::new() };
    let what = format!("ask for the state of {id}");
    let answer = unless(Kind::NotFound, ask(&what, server.tasks().get(request)).await)?;
    Ok(answer.and_then(|answer| answer.process))
}

/// The same; of unknown status if its shim, or whoever asks it, does not answer. There may be ways past that.
pub(super) async fn task_or_unknown(server: &Server, id: &str) -> Result<Option<Process>, Failure> {
    match task(server, id).await {
        Err(failure) if failure.is_silence() => Ok(Some(Process::default())),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_meant_by_itself_or_by_a_beginning_that_no_other_has() {
        let ids = BTreeSet::from(["web", "web2", "db"]);
        assert_eq!(resolve(&ids, "web"), Ok("web"));
        assert_eq!(resolve(&ids, "d"), Ok("db"));
        let kind = |word: &str| resolve(&ids, word).map_err(|failure| failure.kind);
        assert_eq!(kind("w"), Err(Kind::InvalidArgument));
        assert_eq!([kind("x"), kind("")], [Err(Kind::NotFound), Err(Kind::NotFound)]);
    }
}
