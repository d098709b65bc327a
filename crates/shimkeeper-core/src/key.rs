// SPDX-License-Identifier: Apache-2.0
//! What a task, and a process of it, is called. There is no ambient namespace: a key always carries its own.

use std::fmt;

use crate::{ExecId, IdError, Namespace, SandboxId, TaskId};

/// A task: its id within its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// The namespace.
    pub namespace: Namespace,
    /// The id within it.
    pub id: TaskId,
}

impl TaskKey {
    /// The key of `id` in `namespace`.
    pub fn new(namespace: Namespace, id: TaskId) -> Self {
        Self { namespace, id }
    }

    /// Parses both parts.
    ///
    /// # Errors
    /// [`IdError`] for the first part that is no identifier.
    pub fn parse(namespace: &str, id: &str) -> Result<Self, IdError> {
        Ok(Self { namespace: namespace.parse()?, id: id.parse()? })
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.id)
    }
}

/// A sandbox: its id within its namespace. A task of the same id is another thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxKey {
    /// The namespace.
    pub namespace: Namespace,
    /// The id within it.
    pub id: SandboxId,
}

impl SandboxKey {
    /// The key of `id` in `namespace`.
    pub fn new(namespace: Namespace, id: SandboxId) -> Self {
        Self { namespace, id }
    }

    /// Parses both parts.
    ///
    /// # Errors
    /// [`IdError`] for the first part that is no identifier.
    pub fn parse(namespace: &str, id: &str) -> Result<Self, IdError> {
        Ok(Self { namespace: namespace.parse()?, id: id.parse()? })
    }

    /// The key of its bundle and its shim, which are made as those of tasks are, in a directory of their own.
    pub fn to_bundle_key(&self) -> TaskKey {
        TaskKey::new(self.namespace.clone(), self.id.to_task_id())
    }

    /// The sandbox whose bundle has this key.
    pub fn of_bundle_key(key: &TaskKey) -> Self {
        Self::new(key.namespace.clone(), SandboxId::of_task_id(&key.id))
    }
}

impl fmt::Display for SandboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.id)
    }
}

/// A process of a task: its init, or one of its execs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProcessKey {
    /// The container's first process.
    Init,
    /// An extra process.
    Exec(ExecId),
}

impl ProcessKey {
    /// The exec id as the Task API spells it: empty for init.
    pub fn exec_id(&self) -> &str {
        match self {
            Self::Init => "",
            Self::Exec(id) => id.as_str(),
        }
    }
}

impl fmt::Display for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init => f.write_str("init"),
            Self::Exec(id) => write!(f, "exec {id}"),
        }
    }
}
