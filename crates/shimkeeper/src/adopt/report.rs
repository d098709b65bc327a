// SPDX-License-Identifier: Apache-2.0
//! How far adoption has come, and what it concluded.

use std::fmt;

use shimkeeper_core::{SandboxKey, TaskKey};

use crate::role::Role;

/// What adoption concluded of one bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Its task goes on under our care.
    Adopted,
    /// Its task ended while nobody watched; the shim still knew how. It is kept until it is deleted.
    EndedWhileAway,
    /// A shim was launched and no task made in it, or its deletion was interrupted: cleared up.
    Leaked,
    /// Its shim is proven dead; its end is announced and it is cleared up.
    Dead,
    /// Its shim does not answer and is not proven dead, or its bundle cannot be read: kept, and tried again.
    Unreachable {
        /// What was seen of it.
        reason: String,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopted => f.write_str("adopted"),
            Self::EndedWhileAway => f.write_str("ended while away"),
            Self::Leaked => f.write_str("leaked"),
            Self::Dead => f.write_str("dead"),
            Self::Unreachable { reason } => write!(f, "unreachable: {reason}"),
        }
    }
}

/// The progress of adoption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adoption {
    /// How many bundles were found at start, of tasks and of sandboxes.
    pub found: usize,
    /// What was concluded of tasks so far, in the order of conclusion. A bundle that nothing could be made of is looked at
    /// again, and its verdict replaced; what becomes of a task later is for the task to tell.
    pub verdicts: Vec<(TaskKey, Verdict)>,
    /// The same of sandboxes.
    pub sandboxes: Vec<(SandboxKey, Verdict)>,
    /// Whether there is a verdict on everything.
    pub finished: bool,
}

impl Adoption {
    pub(super) fn of(found: usize) -> Self {
        Self { found, ..Self::default() }
    }

    /// Adds the first verdict on a bundle.
    pub(super) fn add(&mut self, role: Role, key: TaskKey, verdict: Verdict) {
        match role {
            Role::Task => self.verdicts.push((key, verdict)),
            Role::Sandbox => self.sandboxes.push((SandboxKey::of_bundle_key(&key), verdict)),
        }
    }

    /// Puts a later one in its place.
    pub(super) fn replace(&mut self, role: Role, key: &TaskKey, verdict: Verdict) {
        match role {
            Role::Task => replace(&mut self.verdicts, key, verdict),
            Role::Sandbox => replace(&mut self.sandboxes, &SandboxKey::of_bundle_key(key), verdict),
        }
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// What was concluded of one task.
    pub fn verdict(&self, key: &TaskKey) -> Option<&Verdict> {
        self.verdicts.iter().find(|(k, _)| k == key).map(|(_, verdict)| verdict)
    }
}

fn replace<K: PartialEq>(verdicts: &mut [(K, Verdict)], key: &K, verdict: Verdict) {
    if let Some((_, old)) = verdicts.iter_mut().find(|(k, _)| k == key) {
        *old = verdict;
    }
}
