// SPDX-License-Identifier: Apache-2.0
//! A container and its task as they are shown.

use std::collections::BTreeMap;

use serde::Serialize;
use shimkeeper_proto::containerd::services::containers::v1::Container;
use shimkeeper_proto::containerd::v1::types::{Process, Status};

use super::print;

/// A container, in short.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) id: String,
    /// Empty for a task without a record.
    pub(super) runtime: String,
    pub(super) image: String,
    pub(super) labels: BTreeMap<String, String>,
    created_at: Option<String>,
    pub(super) task: Option<TaskView>,
}

/// What is known of a task.
#[derive(Debug, Serialize)]
pub(super) struct TaskView {
    pub(super) status: String,
    pid: Option<u32>,
    pub(super) exit: Option<ExitView>,
}

/// How a task ended.
#[derive(Debug, Serialize)]
pub(super) struct ExitView {
    pub(super) status: u32,
    pub(super) at: Option<String>,
    /// How that is known, if the daemon says so.
    pub(super) provenance: Option<String>,
    pub(super) out_of_memory: Option<bool>,
}

impl TaskView {
    pub(super) fn new(task: &Process) -> Self {
        let exit = || ExitView {
            status: task.exit_status,
            at: print::at(task.exited_at.as_ref()),
            provenance: None,
            out_of_memory: None,
        };
        Self {
            status: task.status().as_str_name().to_ascii_lowercase(),
            pid: Some(task.pid).filter(|pid| *pid != 0),
            exit: (task.status() == Status::Stopped).then(exit),
        }
    }

    /// Of a task that could not be asked for.
    pub(super) fn unknown() -> Self {
        Self { status: Status::Unknown.as_str_name().to_ascii_lowercase(), pid: None, exit: None }
    }

    /// The status, and of what has ended how.
    pub(super) fn text(&self) -> String {
        match &self.exit {
            Some(exit) => format!("{} ({})", self.status, exit.status),
            None => self.status.clone(),
        }
    }

    pub(super) fn pid(&self) -> String {
        self.pid.map(|pid| pid.to_string()).unwrap_or_default()
    }
}

impl Summary {
    pub(super) fn new(id: &str, record: Option<&Container>, task: Option<TaskView>) -> Self {
        let runtime = record.and_then(|record| record.runtime.as_ref());
        Self {
            id: id.to_owned(),
            runtime: runtime.map(|runtime| runtime.name.clone()).unwrap_or_default(),
            image: record.map(|record| record.image.clone()).unwrap_or_default(),
            labels: record.map(|record| record.labels.clone()).unwrap_or_default(),
            created_at: record.and_then(|record| print::at(record.created_at.as_ref())),
            task,
        }
    }

    /// Whether nothing says that it does not run.
    pub(super) fn may_run(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.exit.is_none() && task.status != "created")
    }

    /// Its line: id, status, pid, runtime, creation.
    pub(super) fn row(&self) -> [String; 5] {
        let status = self.task.as_ref().map_or_else(|| "no task".to_owned(), TaskView::text);
        let pid = self.task.as_ref().map(TaskView::pid).unwrap_or_default();
        [self.id.clone(), status, pid, self.runtime.clone(), self.created_at.clone().unwrap_or_default()]
    }

    /// All of it, as names and values.
    pub(super) fn lines(&self) -> Vec<[String; 2]> {
        let [id, status, pid, runtime, created] = self.row();
        let exit = self.task.as_ref().and_then(|task| task.exit.as_ref());
        let known = exit.and_then(|exit| exit.provenance.clone()).unwrap_or_default();
        let ended = exit.and_then(|exit| exit.at.clone()).unwrap_or_default();
        let lines = [
            ("id", id),
            ("status", status),
            ("ended", ended),
            ("known by", known),
            ("pid", pid),
            ("runtime", runtime),
            ("image", self.image.clone()),
            ("labels", print::labels(&self.labels)),
            ("created", created),
        ];
        let told = lines.into_iter().filter(|(_, value)| !value.is_empty());
        told.map(|(name, value)| [name.to_owned(), value]).collect()
    }
}
