// SPDX-License-Identifier: Apache-2.0
//! Everything a manager has in its care at one moment, also what it does not know yet.

use shimkeeper_core::TaskKey;

use crate::machine::State;
use crate::registry::{Entry, Registry};
use crate::task::Task;

/// Everything in a manager's care, in the order of the keys.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// The tasks, those that cannot be reached included.
    pub tasks: Vec<Task>,
    /// What was found at start and is not known to be a task: there is no verdict on it yet, or nothing can be made of
    /// it. A task of this key may be running.
    pub unknown: Vec<Unknown>,
}

/// A bundle that is not known to be a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unknown {
    /// Whose bundle it is.
    pub key: TaskKey,
    /// What is in the way; `None` while there is no verdict yet.
    pub reason: Option<String>,
}

impl Survey {
    pub(crate) fn of(registry: &Registry) -> Self {
        let mut survey = Self::default();
        for (key, entry) in registry.entries() {
            match entry {
                Entry::Shim(shim) => {
                    if !matches!(shim.state.get(), State::Removing | State::Gone(_)) {
                        survey.tasks.push(Task::new(shim));
                    }
                }
                Entry::Adopting(_) => survey.unknown.push(Unknown { key, reason: None }),
                Entry::Stranded(reason) => survey.unknown.push(Unknown { key, reason: Some(reason) }),
                // Nobody has been told of it.
                Entry::Creating => {}
            }
        }
        survey.tasks.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        survey.unknown.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        survey
    }
}
