// SPDX-License-Identifier: Apache-2.0
//! What a shim was launched for. Both are owned by the same supervisor, with a record, a ledger and a bundle alike; they
//! differ in the service that is asked, in the events, and in where the bundle is.

use crate::error::Refused;

/// What a shim was launched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A task: a container.
    Task,
    /// A sandbox, which tasks may join. Its ledger has one process: the sandbox.
    Sandbox,
}

impl Role {
    /// There is none of this key.
    pub(crate) fn absent(self) -> Refused {
        match self {
            Self::Task => Refused::NoSuchTask,
            Self::Sandbox => Refused::NoSuchSandbox,
        }
    }

    /// A refusal of the registry, which serves both, in the words of this one.
    pub(crate) fn words(self, refused: Refused) -> Refused {
        match (self, refused) {
            (Self::Sandbox, Refused::TaskExists) => Refused::SandboxExists,
            (_, refused) => refused,
        }
    }
}
